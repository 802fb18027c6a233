"""Make a folder like that of a trained experiment, with a Conformer of the paper's size and random weights: for times.

    python benchmarks/paper_model.py recipes/mini/exp/dld MODEL

Tokenizer and front end are those of the first folder, normalised by statistics of a corpus as in the large recipes.
Blocks do not get faster or slower by training.
"""

import argparse
import re
import shutil
from pathlib import Path

import torch

from dld.experiment import HYPERPARAMS, TOKENIZER
from dld.saved import Settings
from dld.training.folder import save_model

#: As `recipes/common/hparams/conformer.yaml` has them; the first folder is of another size and has `conv1d`.
SIZES = {
    "d_model": "256",
    "d_ffn": "2048",
    "num_heads": "8",
    "kernel_size": "31",
    "subsampling": "conv2d\n  subsampling_channels: {channels}",
}


def main():
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--seed", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--channels", type=int, default=64, help="of the subsampling (%(default)s)")
    arguments = parser.parse_args()
    arguments.model.mkdir(parents=True)
    text = (arguments.experiment / HYPERPARAMS).read_text()
    for key, value in SIZES.items():
        text = re.sub(
            rf"^(  {key}: ).*$", rf"\g<1>{value.format(channels=arguments.channels)}", text, flags=re.MULTILINE
        )
    text = re.sub(
        r"^( *normalisation: ).*$", r"\1!new:dld.frontends.GlobalCMVN\n    n_features: 80", text, flags=re.MULTILINE
    )
    (arguments.model / HYPERPARAMS).write_text(text)
    shutil.copy(arguments.experiment / TOKENIZER, arguments.model)
    torch.manual_seed(arguments.seed)
    network = Settings(arguments.model / HYPERPARAMS).network()
    about = {"system": "random", "seed": arguments.seed, "updates": 0, "train_seconds": 0.0}
    save_model(arguments.model, network, about)


if __name__ == "__main__":
    main()
