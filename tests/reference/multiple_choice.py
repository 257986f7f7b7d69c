#!/usr/bin/env python3
"""Multiple choice against lm-evaluation-harness: made-up questions in the published layouts, answered
by the harness (PyTorch, f32) with its own task rules, and by ropesweep; the choices are compared.

    multiple_choice.py make DIR [--questions 500] [--seed 1]
    multiple_choice.py harness DIR --model CHECKPOINT [--layouts arc,…] [--questions N] [--shots n]
    multiple_choice.py prompts DIR --model CHECKPOINT
    multiple_choice.py compare DIR --model CHECKPOINT --ropesweep PROGRAM [the same options]

`harness` needs lm_eval (seen with 0.4.13), torch and transformers, and nothing from a network. It
answers in pieces of 50 questions and keeps each (DIR/harness-…-PIECE.json), so that it can be stopped.
`prompts` writes what the harness shows a model of a few questions, which the test of prompts reads
(choice/prompts.json), into DIR.
"""
import argparse
import json
import os
import random
import subprocess
import sys
from pathlib import Path

LAYOUTS = ["arc", "hellaswag", "mmlu", "truthfulqa"]
SUBJECTS = ["anatomy", "high_school_biology", "computer_security"]
PIECE = 50
WORDS = ("river stone glass north copper winter music lantern garden market engine silver letter horse "
         "island bridge cotton thunder window forest café naïve pepper candle harbour pencil").split()
VERBS = "holds moves heats follows breaks lifts covers melts opens draws washes paints".split()
PLACES = ["in the kitchen", "near a lake", "at 20 °C", "on Mars", "under pressure", "in 1987",
          "(see figure 2)", "after dark", "for 3.5 hours"]


def words(rnd, low, high):
    return " ".join(rnd.choice(WORDS) for _ in range(rnd.randint(low, high)))


def arc_record(rnd, number):
    labels = rnd.choice(["ABCD", "1234", "ABC", "ABCDE"])
    choices = [rnd.choice(["", "the ", "a "]) + words(rnd, 1, 3) for _ in labels]
    question = f"Which {rnd.choice(WORDS)} {rnd.choice(VERBS)} the {words(rnd, 1, 2)} {rnd.choice(PLACES)}?"
    return {"id": f"q{number}", "question": question,
            "choices": {"text": choices, "label": list(labels)}, "answerKey": rnd.choice(labels)}


def hellaswag_record(rnd, number):
    marks = rnd.random() < 0.4
    context_a = f"{'[header] How to paint [title] ' if marks else ''}A man {rnd.choice(VERBS)} the {words(rnd, 1, 3)}."
    context_b = rnd.choice(["", "he", "the Woman", "then She"])
    endings = [f"{rnd.choice(VERBS)} the {words(rnd, 1, 2)} {rnd.choice(PLACES)}."
               + (" [substeps] Go  on." if marks and rnd.random() < 0.5 else "") for _ in range(4)]
    return {"ind": number, "activity_label": rnd.choice(["Painting", "Home and Garden", "Sailing "]),
            "ctx_a": context_a, "ctx_b": context_b, "ctx": f"{context_a} {context_b}".strip(),
            "split": "val", "split_type": "indomain", "label": rnd.randrange(4), "endings": endings,
            "source_id": f"made~{number}"}


def mmlu_record(rnd, number):
    question = f"{rnd.choice(['', ' '])}The {rnd.choice(WORDS)} that {rnd.choice(VERBS)} a {words(rnd, 1, 2)} is{rnd.choice([':', '', ' '])}"
    return {"question": question, "subject": SUBJECTS[number % len(SUBJECTS)],
            "choices": [words(rnd, 1, 3) for _ in range(4)], "answer": rnd.randrange(4)}


def truthfulqa_record(rnd, number):
    question = f"What {rnd.choice(VERBS)} a {words(rnd, 1, 2)} {rnd.choice(PLACES)}?"
    answers = []
    while len(answers) < 3:
        answer = f"{rnd.choice(['The', 'A', 'No'])} {words(rnd, 1, 3)}{rnd.choice(['', '.'])}"
        if answer not in answers:
            answers.append(answer)
    # The answers of mc1 are among those of mc2, whose requests so answer both.
    return {"question": question,
            "mc1_targets": {"choices": [answers[0], answers[2]], "labels": [1, 0]},
            "mc2_targets": {"choices": answers, "labels": [1, rnd.randrange(2), 0]}}


def make(options):
    rnd = random.Random(options.seed)
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    for layout in LAYOUTS:
        make_record = globals()[f"{layout}_record"]
        for name, count in ((layout, options.questions), (f"{layout}-shots", 60)):
            records = [make_record(rnd, number) for number in range(count)]
            text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
            (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


def read_records(options, layout, name=None):
    with open(Path(options.folder) / f"{name or layout}.jsonl", encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    return records if name else records[:options.questions]


def answers_file(options, layout, piece):
    return Path(options.folder) / f"harness-{layout}-{options.shots}-{piece}.json"


def harness_task(options, layout, records, subject, shots=None):
    """One of the harness's own tasks over `records`; its rules are included as they are."""
    import lm_eval.tasks
    import yaml
    from lm_eval.tasks import TaskManager
    rules = Path(lm_eval.tasks.__file__).parent / {
        "arc": "arc/arc_easy.yaml", "hellaswag": "hellaswag/hellaswag.yaml",
        "mmlu": f"mmlu/default/mmlu_{subject}.yaml", "truthfulqa": "truthfulqa/truthfulqa_mc2.yaml"}[layout]
    work = Path(options.folder) / "work"
    work.mkdir(exist_ok=True)
    if shots is None:
        shots = read_records(options, layout, f"{layout}-shots")
    if subject:
        shots = [record for record in shots if record["subject"] == subject]
    evaluated = {"arc": "test", "mmlu": "test", "hellaswag": "validation", "truthfulqa": "validation"}[layout]
    files = {}
    for split, split_records in ((evaluated, records), ("dev" if layout == "mmlu" else "train", shots)):
        files[split] = str(work / f"{layout}-{split}.jsonl")
        with open(files[split], "w", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for record in split_records)
    config = {"include": str(rules), "task": "reference", "dataset_path": "json", "dataset_name": None,
              "dataset_kwargs": {"data_files": files}, "tag": None}
    if layout == "arc":
        config["validation_split"] = None
    (work / "reference.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return TaskManager(include_path=str(work), include_defaults=False)


def choices_of(layout, sample):
    """What the harness's likelihoods choose, by its rules: argmax raw and by length."""
    import numpy
    likelihoods = numpy.array([float(response[0]) for response in sample["filtered_resps"]])
    doc = sample["doc"]
    answer = {"likelihoods": list(likelihoods)}
    if layout == "truthfulqa":
        options = doc["mc2_targets"]["choices"]
        answer["mc1"] = int(numpy.argmax([likelihoods[options.index(o)] for o in doc["mc1_targets"]["choices"]]))
        answer["mc2"] = float(sample["acc"])
        return answer
    answer["choice"] = int(numpy.argmax(likelihoods))
    if layout == "mmlu":
        answer["accuracy"] = float(sample["acc"])
        return answer
    options = doc["choices"]["text"] if layout == "arc" else doc["choices"]
    answer["choice_normalised"] = int(numpy.argmax(likelihoods / numpy.array([float(len(o)) for o in options])))
    answer["accuracy"], answer["accuracy_normalised"] = float(sample["acc"]), float(sample["acc_norm"])
    return answer


def harness(options):
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_DATASETS_CACHE", str(Path(options.folder) / "cache"))
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from shared_prefix_model import SharedPrefixModel
    model = (SharedPrefixModel if options.share_prefix else HFLM)(pretrained=options.model, dtype="float32", device="cpu", batch_size=options.batch)
    for layout in options.layouts.split(","):
        records = list(enumerate(read_records(options, layout)))
        size = len(records) if options.shots > 0 else PIECE  # one sampler draws for all
        for piece in range(0, len(records), size):
            target = answers_file(options, layout, piece)
            if target.exists():
                continue
            answers = {}
            part = records[piece:piece + size]
            for subject in SUBJECTS if layout == "mmlu" else [None]:
                of_subject = [(n, r) for n, r in part if subject is None or r["subject"] == subject]
                if not of_subject:
                    continue
                manager = harness_task(options, layout, [record for _, record in of_subject], subject)
                result = lm_eval.simple_evaluate(
                    model=model, tasks=["reference"], num_fewshot=options.shots, task_manager=manager,
                    log_samples=True, bootstrap_iters=0, apply_chat_template=options.chat)
                for sample in result["samples"]["reference"]:
                    number = of_subject[sample["doc_id"]][0]
                    answers[number] = choices_of(layout, sample)
                    answers[number]["prompt"] = sample["arguments"][0][0]
            target.write_text(json.dumps(answers), encoding="utf-8")
            print(f"{layout}: {piece + len(part)} of {len(records)}", flush=True)


def prompts(options):
    """Contexts and continuations of the harness, with and without solved questions and a chat template."""
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(options.model)

    def chat(messages, add_generation_prompt=True):
        return tokenizer.apply_chat_template(messages, tokenize=False,
                                             add_generation_prompt=add_generation_prompt)

    os.environ.setdefault("HF_DATASETS_CACHE", str(Path(options.folder) / "cache"))
    result = {"chat_template": tokenizer.chat_template, "layouts": []}
    for layout in LAYOUTS:
        subject = "high_school_biology" if layout == "mmlu" else None
        records = [r for r in read_records(options, layout) if subject in (None, r.get("subject"))][:4]
        solved = [r for r in read_records(options, layout, f"{layout}-shots")
                  if subject in (None, r.get("subject"))][:12]
        manager = harness_task(options, layout, records, subject, solved)
        entry = {"layout": layout, "records": records, "solved": solved, "cases": []}
        for shots in [0] if layout == "truthfulqa" else [0, 3]:
            for through_chat in (False, True):
                task = next(iter(manager.load(["reference"])["tasks"].values()))
                task.set_config(key="num_fewshot", value=shots)
                task.set_fewshot_seed(seed=1234)
                task.build_all_requests(rank=0, world_size=1, apply_chat_template=through_chat,
                                        chat_template=chat if through_chat else None,
                                        fewshot_as_multiturn=False, tokenizer_name="reference")
                case = {"shots": shots, "chat": through_chat, "prompts": [], "options": []}
                for request in task.instances:
                    if request.idx == 0:
                        case["prompts"].append(request.args[0])
                        case["options"].append([])
                    case["options"][-1].append(request.args[1])
                entry["cases"].append(case)
        result["layouts"].append(entry)
    (Path(options.folder) / "prompts.json").write_text(
        json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def evaluate(options, layout):
    command = [options.ropesweep, "eval", "--model", options.model, "--task", "multiple-choice",
               "--type", "f32", "--layout", layout, "--data", str(Path(options.folder) / f"{layout}.jsonl"),
               "--samples", str(options.questions), "--print-samples", "--quiet",
               "--shots", str(options.shots)]
    if options.shots > 0:
        command += ["--shots-data", str(Path(options.folder) / f"{layout}-shots.jsonl")]
    if options.chat:
        command += ["--instruction-template"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def mass_of(answer, record):
    """TruthfulQA's mc2 from likelihoods of mc2's options."""
    import math
    masses = [math.exp(likelihood) for likelihood in answer["likelihoods"]]
    labels = record["mc2_targets"]["labels"]
    return sum(m for m, label in zip(masses, labels) if label) / sum(masses)


def compare(options):
    failed = False
    for layout in options.layouts.split(","):
        expected = {}
        for file in Path(options.folder).glob(f"harness-{layout}-{options.shots}-*.json"):
            expected.update({int(n): a for n, a in json.loads(file.read_text(encoding="utf-8")).items()})
        report = evaluate(options, layout)
        samples = {sample["index"]: json.loads(sample["text"]) for sample in report["samples"]}
        common = sorted(set(expected) & set(samples))
        equal = {}
        worst = 0.0
        for number in common:
            want, got = expected[number], samples[number]
            mine = got["log_likelihoods"]
            if layout == "truthfulqa":  # ours are those of mc1's options, then of mc2's further ones
                record = read_records(options, layout)[number]
                order = record["mc1_targets"]["choices"] + [
                    o for o in record["mc2_targets"]["choices"] if o not in record["mc1_targets"]["choices"]]
                mine = [mine[order.index(o)] for o in record["mc2_targets"]["choices"]]
                pairs = {"mc1": (want["mc1"], got["choice"]),
                         "mc2": (True, abs(want["mc2"] - got["mc2"]) < 1e-3)}
            else:
                pairs = {key: (want[key], got[key]) for key in ("choice", "choice_normalised") if key in want}
            worst = max([worst] + [abs(a - b) for a, b in zip(want["likelihoods"], mine)])
            for key, (left, right) in pairs.items():
                equal[key] = equal.get(key, 0) + (left == right)
        for key, count in equal.items():
            share = count / len(common)
            failed |= share < 0.995
            print(f"{layout} {key}: {count} of {len(common)} equal ({100 * share:.2f} %); "
                  f"log-likelihoods differ by at most {worst:.2g}")
        failed |= not common
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["make", "harness", "prompts", "compare"])
    parser.add_argument("folder")
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model")
    parser.add_argument("--layouts", default=",".join(LAYOUTS))
    parser.add_argument("--shots", type=int, default=0)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--share-prefix", action="store_true", help="the harness passes a common prefix once")
    parser.add_argument("--chat", action="store_true", help="through the checkpoint's chat template")
    parser.add_argument("--ropesweep", default="build/release/ropesweep")
    options = parser.parse_args()
    return globals()[options.step](options) or 0


if __name__ == "__main__":
    sys.exit(main())
