"""The three protocols a leaderboard number can be measured with, and the course's for MNIST, as values.

A `Recipe` is everything between the data and the accuracy: optimizer, schedule, augmentation, validation
transform, loss. A protocol fills one in for a cell (data set, size, epochs); an experiment that changes any
value of it is labelled `custom`.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from lrelu_bench.errors import BenchError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Source = Literal["160", "320", "full"]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Channels = Annotated[int, Field(ge=1, le=1024)]


class Recipe(BaseModel):
    """How a net is trained and validated, every value explicit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int = Field(ge=2, le=4096, description="Images per optimizer step.")
    lr: Positive = Field(description="Peak learning rate, for the whole batch on one device.")
    mixup: float = Field(ge=0, le=10, description="Alpha of mixup's beta distribution; 0 is no mixup.")
    optimizer: Literal["adam", "ranger", "sgd"] = Field(
        description="adam: Adam with decoupled weight decay. ranger: RAdam inside Lookahead (k=6, "
        "alpha=0.5). sgd: SGD with momentum, weight decay added to the gradient."
    )
    momentum_max: Decay = Field(
        description="First-moment decay (beta1; sgd: momentum) at the start and the end."
    )
    momentum_min: Decay = Field(description="First-moment decay (beta1) where the learning rate peaks.")
    sq_momentum: Decay = Field(description="Second-moment decay (beta2).")
    eps: Positive = Field(description="Added to the root of the second moment.")
    weight_decay: float = Field(ge=0, description="Decoupled weight decay, multiplied by the learning rate.")
    decay_norm_and_bias: bool = Field(description="Whether batch-norm parameters and biases decay as well.")
    schedule: Literal["one_cycle", "flat_cos"] = Field(
        description="one_cycle: cosine up to lr, cosine down. flat_cos: lr held, then cosine down."
    )
    pct_start: Share = Field(description="Share of all steps before the learning rate comes down.")
    div_start: Positive = Field(description="one_cycle starts from lr / div_start.")
    div_end: Positive = Field(description="The schedule ends at lr / div_end.")
    label_smoothing: Share = Field(description="Share of the target spread over all classes.")
    drop_last: bool = Field(description="Whether an epoch drops its last, incomplete batch.")
    crop: Literal["resize", "extent", "none"] = Field(
        description="Random resized crop: crop then PIL's antialiased resize, or PIL's EXTENT transform; "
        "none, for MNIST: neither crop nor flip."
    )
    min_scale: Share = Field(description="Least share of the image's area that a random crop keeps.")
    validation: Literal["shorter_side", "squash", "extent", "none"] = Field(
        description="shorter_side: to size + 32, centre crop. squash: whole image to a square 14 % larger, "
        "centre crop. extent: the central 1/1.14 of each side by PIL's EXTENT transform. none, for MNIST: as "
        "it is."
    )
    mean: tuple[float, float, float] = Field(
        description="Channel means subtracted, of pixels in [0, 1]; of grey images, the first."
    )
    std: tuple[Positive, Positive, Positive] = Field(
        description="Channel deviations divided by; of grey images, the first."
    )
    stem: tuple[Channels, Channels, Channels] = Field(
        description="Output channels of the three stem convolutions."
    )
    init_slope: Literal["zero", "leak", "tenth"] = Field(
        description="Negative slope the kaiming start assumes: zero, the activation's starting leak, or 0.1."
    )

    @property
    def without_effect(self) -> set[str]:
        """Fields that decide nothing beside the others."""
        adaptive = {"sq_momentum", "eps"} if self.optimizer == "sgd" else set()
        return adaptive | ({"min_scale"} if self.crop == "none" else set())

    def steps_per_epoch(self, images: int) -> int:
        """Optimizer steps in an epoch of `images` images.

        Raises `BenchError` where they do not fill one batch.
        """
        full, rest = divmod(images, self.batch_size)
        # Batch norm cannot train on a batch of one image.
        steps = full + (not self.drop_last and rest > 1)
        if steps < 1:
            raise BenchError(
                f"batch_size is {self.batch_size} but there are only {images} training images; "
                "lower batch_size or raise subset"
            )
        return steps


# (dataset, size, epochs): --bs, --lr, --mixup and GPUs of the row that held the cell on 2019-04-16
# (Imagewoof 256/80: on 2019-05-15, when it was first listed).
_BOARD_2019: dict[tuple[str, int, int], tuple[int, float, float, int]] = {
    ("imagenette", 128, 5): (64, 3e-3, 0.0, 4),
    ("imagenette", 128, 20): (128, 3e-3, 0.0, 2),
    ("imagenette", 128, 80): (64, 1e-2, 0.2, 3),
    ("imagenette", 128, 400): (64, 1e-2, 0.2, 3),
    ("imagenette", 192, 5): (64, 1e-2, 0.0, 3),
    ("imagenette", 192, 20): (64, 1e-2, 0.0, 3),
    ("imagenette", 192, 80): (64, 1e-2, 0.2, 3),
    ("imagenette", 192, 400): (64, 1e-2, 0.2, 3),
    ("imagenette", 256, 5): (64, 1e-2, 0.0, 3),
    ("imagenette", 256, 20): (64, 1e-2, 0.0, 3),
    ("imagenette", 256, 80): (64, 1e-2, 0.2, 3),
    ("imagenette", 256, 400): (64, 1e-2, 0.2, 3),
    ("imagewoof", 128, 5): (64, 3e-3, 0.0, 2),
    ("imagewoof", 128, 20): (64, 3e-3, 0.0, 2),
    ("imagewoof", 128, 80): (64, 1e-2, 0.2, 4),
    ("imagewoof", 128, 400): (64, 1e-2, 0.2, 4),
    ("imagewoof", 192, 5): (64, 3e-3, 0.0, 1),
    ("imagewoof", 192, 20): (64, 3e-3, 0.2, 4),
    ("imagewoof", 192, 80): (64, 3e-3, 0.2, 4),
    ("imagewoof", 192, 400): (64, 1e-2, 0.2, 4),
    ("imagewoof", 256, 5): (64, 3e-3, 0.0, 2),
    ("imagewoof", 256, 20): (64, 3e-3, 0.0, 4),
    ("imagewoof", 256, 80): (64, 3e-3, 0.2, 4),
    ("imagewoof", 256, 400): (64, 1e-2, 0.2, 4),
}
_OFF_BOARD_2019 = _BOARD_2019["imagewoof", 128, 5]


def lists_recipe(protocol: str, dataset: str, size: int, epochs: int) -> bool:
    """Whether the protocol says how this very cell is trained; only the 2019 board has a recipe per cell."""
    return protocol != "leaderboard-2019" or (dataset, size, epochs) in _BOARD_2019


def _leaderboard_2019(dataset: str, size: int, epochs: int) -> Recipe:
    """fastai 1 examples/train_imagenette.py at 2019-04-10 (commit d207f911).

    The board's --bs is per GPU and its --lr is scaled by batch / 256, so one device reproduces a row with
    batch = bs x GPUs at lr x batch / 256. A cell the board does not have takes Imagewoof 128/5's values.
    """
    bs, lr, mixup, gpus = _BOARD_2019.get((dataset, size, epochs), _OFF_BOARD_2019)
    batch_size = bs * gpus
    return Recipe(
        batch_size=batch_size,
        lr=lr * batch_size / 256,
        mixup=mixup,
        optimizer="adam",
        momentum_max=0.95,
        momentum_min=0.85,
        sq_momentum=0.99,
        eps=1e-6,
        weight_decay=1e-2,
        decay_norm_and_bias=False,
        schedule="one_cycle",
        pct_start=0.3,
        div_start=10.0,
        div_end=1e5,
        label_smoothing=0.1,
        drop_last=True,
        crop="resize",
        min_scale=0.35,
        validation="shorter_side",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        stem=(32, 32, 64),
        init_slope="zero",
    )


def _course_2019(dataset: str, size: int, epochs: int) -> Recipe:
    """fast.ai course-v3 nbs/dl2/11_train_imagenette.ipynb and the notebooks it imports (08 to 11).

    Crops and validation are notebook 10's: PIL's EXTENT transform, which does not antialias. The course
    decays every parameter; here activation parameters decay only where `activation.weight_decay` asks for it.
    """
    return _leaderboard_2019(dataset, size, epochs).model_copy(
        update={
            "batch_size": 64,
            "lr": 1e-2,
            "mixup": 0.0,
            "decay_norm_and_bias": True,
            "pct_start": 0.5,
            "drop_last": False,
            "crop": "extent",
            "validation": "extent",
            "mean": (0.47, 0.48, 0.45),
            "std": (0.29, 0.28, 0.30),
            "stem": (32, 64, 64),
        }
    )


def _leaderboard_2020(dataset: str, size: int, epochs: int) -> Recipe:
    """fastai2 nbs/examples/train_imagenette.py (2020-01), options of fastai/imagenette 2020-01-train.md.

    Upstream says that the 80 and 200 epoch runs use mixup but not which alpha: 0.2 here, fastai 1's.
    """
    return _leaderboard_2019(dataset, size, epochs).model_copy(
        update={
            "batch_size": 64,
            "lr": 8e-3,
            "mixup": 0.2 if epochs >= 80 else 0.0,
            "optimizer": "ranger",
            "momentum_min": 0.95,
            "schedule": "flat_cos",
            "pct_start": 0.75,
            "validation": "squash",
        }
    )


# Mean and deviation of the training images' pixels in [0, 1], to four places.
_MNIST_PIXELS = {"mnist": (0.1307, 0.3081), "mnist-t10k": (0.1327, 0.3107)}


def _course_mnist(dataset: str, size: int, epochs: int) -> Recipe:
    """fast.ai course-v3 nbs/dl2/06_cuda_cnn_hooks_init.ipynb, its last cells before "Export".

    Plain SGD and cross entropy, batch 512, no augmentation, pixels normalised by the training set's mean and
    deviation; learning rate 0.2 up to 1 down to 0.1, by cosine, the peak in the middle, for 8 epochs. The
    net's layers are 07_batchnorm.ipynb's: convolution, activation, batch norm; kaiming start with a = 0.1.
    """
    mean, std = _MNIST_PIXELS.get(dataset, _MNIST_PIXELS["mnist"])
    return _leaderboard_2019(dataset, size, epochs).model_copy(
        update={
            "batch_size": 512,
            "lr": 1.0,
            "mixup": 0.0,
            "optimizer": "sgd",
            "momentum_max": 0.0,
            "momentum_min": 0.0,
            "weight_decay": 0.0,
            "pct_start": 0.5,
            "div_start": 5.0,
            "div_end": 10.0,
            "label_smoothing": 0.0,
            "drop_last": False,
            "crop": "none",
            "validation": "none",
            "mean": (mean,) * 3,
            "std": (std,) * 3,
            "init_slope": "tenth",
        }
    )


ProtocolName = Literal["leaderboard-2019", "course-2019", "leaderboard-2020", "course-mnist"]
PROTOCOLS = {
    "leaderboard-2019": _leaderboard_2019,
    "course-2019": _course_2019,
    "leaderboard-2020": _leaderboard_2020,
    "course-mnist": _course_mnist,
}
PROTOCOL_SENTENCES = {
    "leaderboard-2019": "The board the posts compared with (fastai 1, April 2019): Adam, one-cycle, v1 data.",
    "course-2019": "The course's own notebook, most likely what the posts' author trained with: "
    "batch 64, lr 1e-2.",
    "leaderboard-2020": "Today's board (fastai2, January 2020): Ranger, flat then cosine, v2 data at 320 px.",
    "course-mnist": "The course's lesson 10 on MNIST with its small net: SGD, batch 512, lr 0.2 to 1 to 0.1.",
}


def protocol_source(protocol: str, size: int) -> Source:
    """The archive's resolution (shorter side, px) that a protocol trains `size` px from."""
    if protocol == "course-2019" or (protocol == "leaderboard-2019" and size <= 128):
        return "160"
    return "320" if size <= 224 else "full"
