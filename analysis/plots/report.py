"""One self-contained HTML page of a store: what was measured, what can be told apart, how it was made.

    report.py STORE.h5 OUTPUT.html

Paired differences are taken from STORE.pairs.csv (`ropesweep query STORE --table pairs --format csv`), if there.
Called by `ropesweep report`. Needs h5py, pandas and matplotlib; the page needs no network.
"""

import contextlib
import math
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import evidence  # noqa: E402
import figures  # noqa: E402
import findings  # noqa: E402
from comparisons import Pairs, compare_at  # noqa: E402
from page_parts import details, duration, escape, figure_text, html_table, number, swatch  # noqa: E402
from store_tables import make_panels, read_store, scheme_order  # noqa: E402

MOST_FAILURES = 40
TOLD_BY_PAIRS = """Schemes are told apart by their differences over the same samples; where their own intervals overlap
all the same, the text says so. Each comparison may err one time in twenty."""
TOLD_BY_INTERVALS = """Schemes share their samples, so overlapping intervals are a careful test: a difference may exist
that they do not show."""


def panel_table(panel, palette, schemes, pairs):
    """Scheme × context length. The best figure of a column is tinted, and so is every one that can't be
    told from it."""
    lengths = sorted(panel.points["context_length"].unique())
    verdicts = {length: compare_at(panel, length, pairs) for length in lengths}
    points = {(r.scheme, r.context_length): r for r in panel.points.itertuples()}
    out = ["<div class=scroll><table><thead><tr><th>scheme</th>"]
    out += [f"<th>{figures.length_text(length)}</th>" for length in lengths]
    out.append("</tr></thead><tbody>")
    for scheme in [s for s in schemes if s in set(panel.points["scheme"])]:
        out.append(f"<tr><td>{swatch(palette, scheme)}</td>")
        for length in lengths:
            row = points.get((scheme, length))
            if row is None:
                out.append("<td></td>")
            elif math.isnan(row.value):
                out.append(f"<td class=status>{escape(row.status)}</td>")
            else:
                out.append(f"<td{tint(verdicts[length], scheme)}>{figure_text(row, panel.metric)}</td>")
        out.append("</tr>")
    out.append("</tbody></table></div>")
    return "".join(out)


def tint(verdict, scheme):
    if verdict is None:
        return ""
    if not verdict.worse:
        return ""  # nothing can be told apart: nothing is marked
    if scheme == verdict.best:
        return ' class="best"' if not verdict.near else ' class="near"'
    return ' class="near"' if scheme in verdict.near else ""


def finding(panel, pairs):
    """One sentence on the longest context at which two schemes were measured."""
    for length in sorted(panel.points["context_length"].unique(), reverse=True):
        verdict = compare_at(panel, length, pairs)
        if verdict is not None:
            return evidence.verdict_text(verdict, f"At {figures.length_text(length)} tokens ")
    return ""


def panel_name(panel):
    return " · ".join(part for part in (panel.recipe, panel.scale) if part)


def dataset_sections(panels, palette, schemes, pairs):
    out = []
    models = {panel.model for panel in panels}
    for model, dataset in dict.fromkeys((panel.model, panel.dataset) for panel in panels):
        here = [p for p in panels if (p.model, p.dataset) == (model, dataset)]
        title = dataset if len(models) == 1 else f"{dataset}, {model}"
        out.append(f'<h2 id="data-{escape(dataset)}-{escape(model)}">{escape(title)}</h2>')
        out.append(f"<p class=muted>{escape(figures.axis_title(here[0].metric, False))}, by context length</p>")
        for main in [p for p in here if p.is_main]:
            out.append(f"<h3>{escape(panel_name(main))}</h3><p>{finding(main, pairs)}</p>")
            name = f"{title}, {panel_name(main)}: {main.metric} by context length"
            out.append(f"<figure>{figures.by_length(main, palette, schemes, name)}</figure>")
            out.append(panel_table(main, palette, schemes, pairs))
            out.append(evidence.paired_table(main, palette, pairs))
            out.append(evidence.position_curves(main, palette, schemes, f"{title}, {panel_name(main)}"))
            out.append(evidence.depth_grids(main, schemes))
            others = [
                p for p in here
                if not p.is_main and (p.recipe, p.scale) == (main.recipe, main.scale)
                and not evidence.has_section_of_its_own(p.metric)
            ]
            tables = [f"<h3>{escape(figures.axis_title(p.metric, False))}</h3>{panel_table(p, palette, schemes, pairs)}"
                      for p in others]
            out.append(details(f"{len(others)} further {'metric' if len(others) == 1 else 'metrics'}", "".join(tables)))
    return "".join(out)


def training_section(store, palette):
    if store.fine_tunes.empty:
        return ""
    out = ['<h2 id=training>Training</h2>']
    for recipe, group in store.fine_tunes.groupby("recipe", sort=False):
        curves = [(row.scheme, store.curves[row.id]) for row in group.itertuples() if row.id in store.curves]
        out.append(f"<h3>{escape(recipe)}</h3>")
        if curves:
            out.append(f"<figure>{figures.loss_curves(curves, palette, f'{recipe}: loss by step')}</figure>")
        rows = [
            (
                swatch(palette, row.scheme), f"×{row.train_scale:g}", row.seed, escape(row.status), row.steps, f"{row.tokens:,}",
                number(row.training_loss), number(row.validation_loss),
                "–" if math.isnan(row.seconds) else duration(row.seconds),
            )
            for row in group.itertuples()
        ]
        header = ["scheme", "scale", "seed", "status", "steps", "tokens", "training loss", "validation loss", "time"]
        out.append(html_table(header, rows))
    return "".join(out)


def failures_section(store):
    bad = ["failed", "skipped", "diverged"]
    cells = store.cells[store.cells["status"].isin(bad)].drop_duplicates("id")
    tunes = store.fine_tunes[store.fine_tunes["status"].isin(bad)]
    lost = store.attempts[~store.attempts["status"].isin(["finished", "running", "diverged"])]
    out = ["<h2 id=failures>Failures</h2>"]
    if cells.empty and tunes.empty:
        out.append("<p>No cell and no fine-tune failed, diverged or was skipped.</p>")
    rows = [
        ("fine-tune", escape(r.scheme), f"{r.recipe}", "", f"<span class=bad>{escape(r.status)}</span>", escape(r.failure))
        for r in tunes.itertuples()
    ] + [
        ("cell", escape(r.scheme), escape(f"{r.recipe}, {r.dataset}"), r.context_length,
         f"<span class=bad>{escape(r.status)}</span>", escape(r.failure))
        for r in cells.itertuples()
    ]
    if rows:
        out.append(html_table(["what", "scheme", "recipe, data", "length", "status", "why"], rows[:MOST_FAILURES], wide=(5,)))
    if len(rows) > MOST_FAILURES:
        out.append(f"<p class=note>and {len(rows) - MOST_FAILURES} more: ropesweep query STORE --where \"status = 'failed'\"</p>")
    if not lost.empty:
        kinds = ", ".join(f"{count} {status}" for status, count in lost["status"].value_counts().items())
        out.append(f"<p class=note>Attempts that brought no result: {escape(kinds)} of {len(store.attempts)}.</p>")
    return "".join(out)


def provenance_section(store):
    out = ["<h2 id=provenance>Provenance</h2>"]
    devices = ", ".join(d for d in dict.fromkeys(store.cells["device"]) if d)
    types = ", ".join(t for t in dict.fromkeys(store.cells["type"]) if t)
    rows = [("devices", escape(devices or "–")), ("number types", escape(types or "–"))]
    long_texts = []
    for key, value in sorted(store.attributes.items()):
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        if key in ("journal", "journal_bytes", "completed"):
            continue
        if "\n" in text or len(text) > 160:
            long_texts.append((key, text))
        else:
            rows.append((escape(key.replace("_", " ")), escape(text)))
    out.append(html_table(["", ""], rows, wide=(0, 1)))
    for key, text in long_texts:
        out.append(f"<details><summary>{escape(key)}</summary><pre>{escape(text)}</pre></details>")
    return "".join(out)


def cards(store):
    cells = store.cells.drop_duplicates("id")
    status = cells["status"].value_counts()
    compute = cells["seconds"].sum() + store.fine_tunes["seconds"].sum()
    trained = (store.fine_tunes["status"] == "finished").sum()
    entries = [
        (f"{status.get('finished', 0)} / {len(cells)}", "cells finished"),
        (f"{trained} / {len(store.fine_tunes)}", "fine-tunes finished"),
        (f"{sum(status.get(s, 0) for s in ('failed', 'skipped'))}", "cells failed or skipped"),
        (f"{status.get('diverged', 0)}", "cells diverged"),
        (duration(compute), "computing, all workers"),
    ]
    return "<div class=cards>" + "".join(
        f"<div class=card><b>{escape(value)}</b><span>{escape(label)}</span></div>" for value, label in entries
    ) + "</div>"


def sweep_name(store, path):
    for line in str(store.attributes.get("sweep", "")).splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "name" and value.strip():
            return value.split("#")[0].strip().strip("\"'")
    return path.stem


def make_page(path):
    store = read_store(path)
    schemes = scheme_order(store.cells)
    palette = figures.Palette(list(dict.fromkeys(schemes + list(store.fine_tunes["scheme"]))))
    panels = make_panels(store.cells) if not store.cells.empty else []
    pairs = Pairs(path.with_suffix(".pairs.csv"))
    contexts = evidence.contexts_section(panels, palette, schemes)
    found = findings.section(store, panels, pairs)
    name = sweep_name(store, path)
    models = ", ".join(dict.fromkeys(store.cells["model"]))
    links = [(f"data-{p.dataset}-{p.model}", p.dataset) for p in panels]
    links += [("contexts", "Longest contexts")] if contexts else []
    links += [("findings", "Findings")] if found else []
    links += [("training", "Training")] if not store.fine_tunes.empty else []
    links += [("failures", "Failures"), ("provenance", "Provenance")]
    nav = "".join(f'<a href="#{escape(target)}">{escape(label)}</a>' for target, label in dict.fromkeys(links))
    started = store.attributes.get("started_at", "")
    style = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(name)} · ropesweep</title><style>{style}</style></head>
<body><main>
<header><h1>{escape(name)}</h1>
<p class=muted>{len(schemes)} position-encoding schemes on {escape(models)}{f", started {escape(started)}" if started else ""}</p>
<nav>{nav}</nav></header>
{cards(store)}
<p class=note>Bands are 95 % intervals and ± is one standard error, over the documents or samples of
a data set; seeds are averaged, and as they share their samples, so are their errors. Tinted figures are the best of their column, or not distinguishable from it;
where no figure can be told from another, none is tinted. {TOLD_BY_PAIRS if pairs else TOLD_BY_INTERVALS}</p>
{dataset_sections(panels, palette, schemes, pairs) or "<p>No cell has a result yet.</p>"}
{contexts}
{found}
{training_section(store, palette)}
{failures_section(store)}
{provenance_section(store)}
</main></body></html>
"""


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: report.py STORE.h5 OUTPUT.html")
    path, output = Path(sys.argv[1]), Path(sys.argv[2])
    page = make_page(path)
    beside = output.with_name(output.name + ".new")
    try:
        beside.write_text(page, encoding="utf-8")
        os.replace(beside, output)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        sys.exit(f"report: {output}: cannot be written: {error.strerror}; check its disk, or name another file "
                 "with --output")


if __name__ == "__main__":
    main()
