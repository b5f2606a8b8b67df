"""Training, evaluation, interests and the seed: what Lightning, the optimiser and the judge get."""

import torch
from fields import row

from softrec.data.batches import examples
from softrec.experiments.runs import open_run
from softrec.recipe.recipe import Recipe
from softrec.recipe.specs import training
from softrec.recipe.specs.models import MODELS
from softrec.training.averaging import Averaging
from softrec.training.precision import of_trainer

TRAINING, EVALUATION, INTEREST = (
    training.TrainingSettings,
    training.EvaluationSettings,
    training.InterestSettings,
)


def windows(begun):
    data = begun.batches.data
    return [data.every, data.start.tolist(), data.stop.tolist(), data.sequences.items.tolist()]


def expected_windows(begun):
    spec, log = begun.recipe.training, begun.split.train.sequences
    data = examples(log, spec.windows, spec.length, stride=spec.stride)
    return [data.every, data.start.tolist(), data.stop.tolist(), log.items.tolist()]


def weights(begun):
    return [part.double().sum().item() for part in begun.encoder.state_dict().values()]


def first_weights(begun):
    """Those of the run, else those of the seed."""
    start, spec = begun.recipe.training.start, begun.recipe.model
    if start is not None:
        encoder = open_run(start).encoder()
    else:
        torch.manual_seed(begun.recipe.seed)
        encoder = MODELS[spec.name](30, **spec.settings)
    return [part.double().sum().item() for part in encoder.state_dict().values()]


def groups(name):
    """A setting of the optimiser, for weights and for biases."""
    return lambda b: [group[name] for group in b.module.configure_optimizers().param_groups]


def said(name):
    return lambda b: getattr(b.recipe.training, name)


kinds = ["last", "positions", "prefixes", "sliding", "interactions"]
row(TRAINING, "windows", kinds, windows, expected_windows, base={"training": {"length": 4}})
row(TRAINING, "length", [2, 5], windows, expected_windows)
row(TRAINING, "stride", [None, 1, 2], windows, expected_windows,
    base={"training.windows": "sliding"})  # fmt: skip
row(TRAINING, "length", [2, 5], lambda b: max(b.batch.history.shape[1], b.encoder.length),
    said("length"), base={"model": {"name": "sasrec", "dim": 4}})  # fmt: skip
row(TRAINING, "padding_side", ["left", "right"],
    lambda b: ["left", "right"][bool((b.batch.history[:, -1] == 30).any())], said("padding_side"),
    base={"training": {"windows": "prefixes"}})  # fmt: skip
row(TRAINING, "start", [None, "TEACHER A", "TEACHER B"], weights, first_weights)
row(TRAINING, "epochs", [1, 7], lambda b: b.settings["max_epochs"], said("epochs"))
row(TRAINING, "batch_size", [3, 5], lambda b: len(b.batch.user), said("batch_size"))
row(TRAINING, "lr", [0.1, 0.2], groups("lr"), lambda b: [b.recipe.training.lr] * 2)
row(TRAINING, "weight_decay", [0.0, 0.3], groups("weight_decay"),
    lambda b: [b.recipe.training.weight_decay, 0.0])  # fmt: skip
row(TRAINING, "betas", [(0.9, 0.999), (0.8, 0.9), (0.9, 0.8)], groups("betas"),
    lambda b: [b.recipe.training.betas] * 2)  # fmt: skip
KINDS = {"adam": ["Adam", False], "adamw": ["AdamW", False], "sparse-adam": ["LazyAdam", True]}
row(TRAINING, "optimizer", list(KINDS),
    lambda b: [type(b.module.configure_optimizers()).__name__, b.encoder.sparse],
    lambda b: KINDS[b.recipe.training.optimizer],
    base={"candidates": {"name": "sampled", "number": 5}})  # fmt: skip
row(TRAINING, "schedule", ["constant", "cosine", "plateau"], lambda b: b.module.schedule.name,
    said("schedule"))  # fmt: skip
row(TRAINING, "warmup", [0, 7], lambda b: b.module.schedule.warmup, said("warmup"))
row(TRAINING, "plateau", [3, 7], lambda b: b.module.schedule.patience, said("plateau"),
    base={"training": {"schedule": "plateau"}})  # fmt: skip
row(TRAINING, "clip", [None, 0.5], lambda b: b.settings["gradient_clip_val"], said("clip"))
row(TRAINING, "ema", [None, 0.5, 0.99],
    lambda b: next((c.decay for c in b.settings["callbacks"] if isinstance(c, Averaging)), None),
    said("ema"))  # fmt: skip
row(TRAINING, "minutes", [None, 0.5, 9.0], lambda b: b.module.budget and b.module.budget.minutes,
    said("minutes"))  # fmt: skip
row(TRAINING, "patience", [1, 4], lambda b: b.callback("EarlyStopping").patience, said("patience"))
row(TRAINING, "monitor", ["ndcg@10", "recall@20"],
    lambda b: [b.callback("EarlyStopping").monitor, b.callback("BestCheckpoint").metric],
    lambda b: [f"valid/{b.recipe.training.monitor}"] * 2)  # fmt: skip
row(TRAINING, "precision", ["32-true", "bf16-true", "64-true", "bf16"],
    lambda b: b.settings["precision"],
    lambda b: of_trainer(b.recipe.training.precision))  # fmt: skip
row(TRAINING, "accelerator", ["auto", "cpu", "gpu", "cuda", "mps"],
    lambda b: b.settings["accelerator"], said("accelerator"))  # fmt: skip
row(TRAINING, "deterministic", [True, False], lambda b: b.settings["deterministic"],
    said("deterministic"))  # fmt: skip
row(TRAINING, "checkpoint_minutes", [0.5, 9.0],
    lambda b: b.callback("ResumeCheckpoint").every / 60,
    said("checkpoint_minutes"))  # fmt: skip
row(TRAINING, "checkpoint_steps", [1, 20],
    lambda b: b.callback("ResumeCheckpoint").steps, said("checkpoint_steps"))  # fmt: skip


def judged(begun):
    """The metrics of validation, long lists so that nearly every order is another number."""
    return list(begun.module.validate(begun.encoder).values())


LONG = {"metrics": ["ndcg@30", "mrr@30"]}
MONITOR = {"training.monitor": "ndcg@30"}
LISTS = MONITOR | {"evaluation": LONG}
row(EVALUATION, "metrics", [["ndcg@10"], ["recall@5", "ndcg@10"]],
    lambda b: list(b.module.validate(b.encoder)),
    lambda b: list(b.recipe.evaluation.metrics))  # fmt: skip
row(EVALUATION, "mask_seen", [True, False], judged, base=LISTS)
row(EVALUATION, "negatives", [None, 3, 9], judged, base=LISTS)
row(EVALUATION, "negatives_seed", [0, 1], judged,
    base=MONITOR | {"evaluation": LONG | {"negatives": 9}})  # fmt: skip
row(EVALUATION, "score", ["trained", "cosine", "euclidean"], judged, base=LISTS)
row(EVALUATION, "score", ["trained", "inner", "euclidean"], judged,
    base=LISTS | {"loss": {"name": "mixed", "score": "cosine"}})  # fmt: skip

TIMIREC = {"model": {"name": "timirec", "dim": 4, "interests": 3}}


def predicted(begun):
    return begun.value().parts["interest"].mean().item()


def expected_predicted(begun):
    spec, encoder, batch = begun.recipe.interest, begun.encoder.double().eval(), begun.batch
    vectors, logits = encoder(batch).interests
    label = encoder.items().vectors[batch.label]
    p = (torch.cosine_similarity(vectors, label[:, None], dim=-1) / spec.temperature).softmax(1)
    log_q = (logits / spec.temperature).log_softmax(1)
    entropy = -(p * p.log()).sum(1)
    divergence = -(p * log_q).sum(1) - (entropy if spec.form == "kl" else 0)
    return (spec.weight * spec.temperature**2 * divergence).mean().item()


def moved(begun):
    """How far the interests' part alone moves the items."""
    encoder = begun.encoder.double().eval()
    part = begun.objective.interest_part
    vectors, logits = encoder(begun.batch).interests
    label = encoder.items().vectors[begun.batch.label]
    cosines = torch.cosine_similarity(vectors, label[:, None], dim=-1)
    (found,) = torch.autograd.grad(
        part(logits, cosines).sum(), label, allow_unused=True, materialize_grads=True
    )
    return bool(found.any())


row(INTEREST, "stop_gradient", [True, False], moved,
    lambda b: not b.recipe.interest.stop_gradient, base=TIMIREC)  # fmt: skip
row(INTEREST, "weight", [0.5, 2.0], predicted, expected_predicted, base=TIMIREC)
row(INTEREST, "temperature", [0.5, 2.0], predicted, expected_predicted, base=TIMIREC)
row(INTEREST, "form", ["kl", "ce"], predicted, expected_predicted, base=TIMIREC)

row(Recipe, "plugins", [[], ["json"]], lambda b: list(b.recipe.plugins),
    lambda b: list(b.recipe.plugins), place="plugins")  # fmt: skip
row(Recipe, "seed", [0, 1], weights, first_weights, place="seed")
row(Recipe, "seed", [0, 1], lambda b: b.batch.user.tolist(), place="seed")
