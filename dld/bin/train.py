"""Train the network that experiment files describe: a base, and the system that it is trained as."""

import logging
import os
import sys

from dld.bin import add_pipes_option, add_progress_option, boolean, command, options
from dld.config.keys import EXPERIMENT_KEYS, SHARED_KEYS
from dld.errors import UsageError


def make_parser():
    """Return the parser of the options that are not keys of the experiment file."""
    own = {name: key for name, key in SHARED_KEYS.items() if name not in EXPERIMENT_KEYS}
    parser = options.Parser(
        prog="dld train",
        description=__doc__,
        usage="dld train BASE.yaml SYSTEM.yaml … [options] [--KEY VALUE …]",
        epilog="Any key of the experiment file can be set: --lr 5e-4, --encoder.dropout 0.2.\n\n"
        f"Keys that the program reads:\n{_described(EXPERIMENT_KEYS)}\n\n"
        f"Keys that recipes have in addition, each where its files refer to it:\n{_described(own)}",
    )
    parser.add_argument("experiments", nargs="+", help="HyperPyYAML files, each of which extends those before it")
    parser.add_argument("--restart", type=boolean, default=False, help="train again from scratch")
    parser.add_argument(
        "--finish",
        type=boolean,
        default=False,
        help="train no further: make a model of the checkpoints of a run that was stopped",
    )
    parser.add_argument(
        "--device", type=options.device, help="cpu, cuda, cuda:1 … (default: the GPU where there is one)"
    )
    add_pipes_option(parser)
    add_progress_option(parser)
    parser.add_argument(
        "--distributed-backend", default="nccl", choices=("nccl", "gloo"), help="communication under torchrun"
    )
    parser.add_argument(
        "--launcher", default="local", choices=("local", "slurm"), help="train in this process, or as a job of SLURM"
    )
    parser.add_argument(
        "--slurm",
        metavar="OPTIONS",
        help="options of sbatch for --launcher slurm, without their dashes: 'partition=gpu time=24:00:00 nodes=2 "
        "gpus-per-node=4'; one process for each GPU, or as ntasks-per-node says",
    )
    return parser


def _described(keys):
    return "\n".join(f"  {name:22} {key.meaning}\n{'':25}{key.kind}" for name, key in keys.items())


def launch_by_slurm(arguments, rest, argv):
    """Train as a job of SLURM; wrong settings are found before it waits in the queue."""
    from dld.config import load_config, parse_overrides
    from dld.training import slurm
    from dld.training.preconditions import check_run

    request = slurm.Request.parse(arguments.slurm or "")
    config = load_config(arguments.experiments, parse_overrides(rest))
    check_run(config.values, config.path)
    return slurm.launch(
        "dld.bin.train", slurm.without(argv, "--launcher", "--slurm"), request, config.values["exp_dir"]
    )


def main(argv=None):
    """Run `dld train`, and end the process if it works together with others."""
    status = run(argv)
    if "RANK" in os.environ:
        from dld.distributed import end

        end(status)
    return status


@command
def run(argv=None):
    """Train; return the exit status."""
    arguments, rest = make_parser().parse_known_args(argv)
    if arguments.slurm is not None and arguments.launcher != "slurm":
        raise UsageError("--slurm has options of sbatch, which --launcher slurm calls; give that too")
    if arguments.launcher == "slurm":
        return launch_by_slurm(arguments, rest, sys.argv[1:] if argv is None else list(argv))
    import speechbrain as sb

    from dld.config import load_config, parse_overrides
    from dld.distributed import lost_process
    from dld.memory import keep_freed_memory
    from dld.training.run import train
    from dld.training.stopping import Stopped

    run_opts = {"noprogressbar": not arguments.progress, "distributed_backend": arguments.distributed_backend}
    if arguments.device:
        run_opts["device"] = arguments.device
    if "RANK" in os.environ:
        # Under layer dropping the blocks behind closed gates get no gradient in a step.
        run_opts["find_unused_parameters"] = True
        sb.utils.distributed.ddp_init_group(run_opts)
        if os.environ["RANK"] != "0":
            logging.getLogger().setLevel(logging.ERROR)
    keep_freed_memory()
    config = load_config(arguments.experiments, parse_overrides(rest))
    try:
        train(config, run_opts, arguments.restart, arguments.finish)
    except Stopped as stopped:
        print(f"dld train: {stopped}", file=sys.stderr)
        return 128 + stopped.signal
    except RuntimeError as error:
        lost = lost_process(error)
        if lost is None:
            raise
        raise lost from None
    return 0


if __name__ == "__main__":
    sys.exit(main())
