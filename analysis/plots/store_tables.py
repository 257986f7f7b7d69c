"""Reads a published store and forms the figures that the report shows: means over seeds, intervals,
and which schemes can be told apart. Nothing is drawn here."""

import math
from dataclasses import dataclass

import h5py
import pandas

# Two-sided 95 % interval of a normal error.
INTERVAL = 1.96


@dataclass
class StoreTables:
    cells: pandas.DataFrame  # one row a metric of a cell
    fine_tunes: pandas.DataFrame
    attempts: pandas.DataFrame
    curves: dict  # fine-tune id → DataFrame by step
    attributes: dict


@dataclass
class Panel:
    """What one figure and one table show: a metric of a data set at one scale."""

    model: str
    dataset: str
    recipe: str
    scale: str  # "" when the sweep has one scale only
    metric: str
    is_main: bool
    points: pandas.DataFrame  # scheme, context_length, value, error, seeds, status


def text_or_number(values):
    return [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in values]


def read_table(group):
    return pandas.DataFrame({name: text_or_number(group[name][:]) for name in group})


def read_store(path):
    with h5py.File(path, "r") as file:
        return StoreTables(
            cells=read_table(file["cells"]),
            fine_tunes=read_table(file["fine_tunes"]),
            attempts=read_table(file["attempts"]),
            curves={name: read_table(file["curves"][name]) for name in file["curves"]},
            attributes=dict(file.attrs),
        )


def higher_is_better(metric):
    return metric.startswith("accuracy")


def scheme_order(cells):
    """Schemes as the sweep names them, the untouched model first: it is the baseline."""
    schemes = list(dict.fromkeys(cells["scheme"]))
    return sorted(schemes, key=lambda scheme: scheme != "none")


def scale_text(train, evaluated):
    def short(x):
        return f"{x:g}"

    return f"×{short(train)}" if train == evaluated else f"trained ×{short(train)}, measured ×{short(evaluated)}"


def over_seeds(rows):
    """Mean over seeds; the standard error of a mean of independent figures."""
    values = rows["value"].dropna()
    if values.empty:
        return pandas.Series(
            {"value": math.nan, "error": math.nan, "seeds": 0, "status": rows["status"].iloc[0]}
        )
    errors = rows.loc[values.index, "standard_error"]
    error = math.sqrt((errors**2).sum()) / len(values) if errors.notna().all() else math.nan
    return pandas.Series(
        {"value": values.mean(), "error": error, "seeds": len(values), "status": "finished"}
    )


def main_metrics(cells):
    """The first metric of each cell that has one, by data set."""
    measured = cells[cells["metric"] != ""]
    first = measured.drop_duplicates("id")
    return first.groupby("dataset")["metric"].agg(lambda metrics: metrics.mode().iloc[0]).to_dict()


def scales_of(cells):
    """(train, eval) pairs, one panel each; scale (1, 1) only where there is nothing else, since schemes
    without a scale stand in every panel."""
    pairs = sorted(set(zip(cells["train_scale"], cells["eval_scale"])))
    scaled = [pair for pair in pairs if pair != (1.0, 1.0)]
    return scaled or pairs


def make_panels(cells):
    """Panels in the order of the sweep: model, data set, recipe, scale; the main metric first."""
    main = main_metrics(cells)
    panels = []
    for (model, dataset, recipe), group in cells.groupby(["model", "dataset", "recipe"], sort=False):
        if dataset not in main:
            continue
        scales = scales_of(group)
        metrics = [main[dataset]] + [
            m for m in dict.fromkeys(group["metric"]) if m not in ("", main[dataset])
        ]
        for train, evaluated in scales:
            is_here = (group["train_scale"] == train) & (group["eval_scale"] == evaluated)
            is_plain = (group["train_scale"] == 1) & (group["eval_scale"] == 1)
            here = group[is_here | is_plain]
            for metric in metrics:
                wanted = here["metric"] == metric
                if metric == main[dataset]:
                    wanted |= here["metric"] == ""  # cells without a figure: their status is shown
                rows = here[wanted]
                if rows["value"].notna().sum() == 0:
                    continue
                points = (
                    rows.groupby(["scheme", "context_length"], sort=False)
                    .apply(over_seeds)
                    .reset_index()
                )
                scale = scale_text(train, evaluated) if scales != [(1.0, 1.0)] else ""
                panels.append(
                    Panel(model, dataset, recipe, scale, metric, metric == main[dataset], points)
                )
    return panels


def compare_at(panel, length):
    """(best scheme, schemes whose intervals overlap the best's, schemes clearly worse) at one length.
    None when fewer than two schemes have a figure there. A figure without an error overlaps all."""
    rows = panel.points[
        (panel.points["context_length"] == length) & panel.points["value"].notna()
    ]
    if len(rows) < 2:
        return None
    sign = -1 if higher_is_better(panel.metric) else 1
    rows = rows.assign(key=sign * rows["value"]).sort_values("key", kind="stable")
    best = rows.iloc[0]
    near, worse = [], []
    for _, row in rows.iloc[1:].iterrows():
        gap = row["key"] - best["key"]
        reach = INTERVAL * (row["error"] + best["error"])
        (worse if gap > reach else near).append(row["scheme"])  # NaN reach: never worse
    return best["scheme"], near, worse
