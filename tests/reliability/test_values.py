"""Wrong values of keys and options: each is one line that names it and what is allowed, before anything is made.

A case is: overrides of an experiment file → a part of the message. The folder of the experiment must not be there
afterwards. Values that are accepted though they look odd are in tables of their own, with the reason.
"""

import re

import pytest

from dld.config import load_config, parse_overrides
from dld.training.preconditions import check_run

TABLE = "wrong values"

# ---------------------------------------------------------------- keys: refused while the file is read

WHOLE, NUMBER, BOOLEAN = "must be a whole number", "must be a number", "must be true or false"
WRONG_KEYS = [
    # Numbers.
    ("--lr abc", f"lr is 'abc'; it {NUMBER} of at least 0"),
    ("--lr -1e-3", f"lr is -0.001; it {NUMBER} of at least 0"),
    (f"--lr {10**400}", f"it {NUMBER} of at least 0"),
    ("--lr .nan", f"lr is nan; it {NUMBER}"),
    ("--lr .inf", f"lr is inf; it {NUMBER}"),
    ("--lr nan", f"lr is 'nan'; it {NUMBER}"),
    ("--lr true", f"lr is true; it {NUMBER}"),
    ("--lr null", f"lr is null; it {NUMBER}"),
    ("--lr=", f"lr is null; it {NUMBER}"),
    ("--lr [0.1]", f"lr is [0.1]; it {NUMBER}"),
    ("--lr 1,5", f"lr is '1,5'; it {NUMBER}"),
    ("--lr 1e-3x", f"lr is '1e-3x'; it {NUMBER}"),
    ("--seed 1.5", f"seed is 1.5; it {WHOLE} from 0 to 4294967295"),
    ("--seed -1", "seed is -1; it"),
    ("--seed abc", "seed is 'abc'; it"),
    ("--seed 99999999999999999999", "seed is 99999999999999999999; it"),
    ("--seed null", "seed is null; it"),
    ("--seed 1e3", f"seed is 1000.0; it {WHOLE} from 0 to 4294967295; write 1000"),
    ("--num_blocks 0", f"num_blocks is 0; it {WHOLE} from 1 to 1000"),
    ("--num_blocks -3", "num_blocks is -3; it"),
    ("--num_blocks 2.5", "num_blocks is 2.5; it"),
    ("--num_blocks 12.0", "num_blocks is 12.0; it must be a whole number from 1 to 1000; write 12"),
    ("--num_blocks abc", "num_blocks is 'abc'; it"),
    ("--num_blocks 100000000", "num_blocks is 100000000; it"),
    ("--num_blocks [12]", "num_blocks is [12]; it"),
    ("--num_blocks {a: 1}", "num_blocks is {'a': 1}; it"),
    ("--d_model 0", f"d_model is 0; it {WHOLE} of at least 1"),
    ("--d_model -64", "d_model is -64; it"),
    ("--d_model 15", "d_model is 15; it must be even and a multiple of num_heads, 4"),
    ("--d_model 6", "d_model is 6; it must be even and a multiple of num_heads, 4"),
    ("--d_model 64.5", "d_model is 64.5; it"),
    ("--d_model wide", "d_model is 'wide'; it"),
    ("--dropout 1", f"dropout is 1; it {NUMBER} of at least 0 and below 1"),
    ("--dropout -0.1", "dropout is -0.1; it"),
    ("--dropout 2", "dropout is 2; it"),
    ("--dropout none", "dropout is 'none'; it"),
    ("--n_mels 0", "n_mels is 0; it"),
    ("--n_mels 80.5", "n_mels is 80.5; it"),
    ("--vocab_size 0", "vocab_size is 0; it must be a whole number from 2"),
    ("--vocab_size 1", "vocab_size is 1; it"),
    ("--vocab_size -5", "vocab_size is -5; it"),
    ("--vocab_size many", "vocab_size is 'many'; it"),
    ("--drop_prob 1", "drop_prob is 1; it must be a number of at least 0 and below 1"),
    ("--drop_prob 1.5", "drop_prob is 1.5; it"),
    ("--drop_prob -0.5", "drop_prob is -0.5; it"),
    ("--drop_prob half", "drop_prob is 'half'; it"),
    ("--num_epochs 0", f"num_epochs is 0; it {WHOLE} of at least 1"),
    ("--num_epochs -1", "num_epochs is -1; it"),
    ("--num_epochs 1.5", "num_epochs is 1.5; it"),
    ("--num_epochs null", "num_epochs is null; it"),
    ("--average_checkpoints 0", f"average_checkpoints is 0; it {WHOLE} of at least 1"),
    ("--average_checkpoints -1", "average_checkpoints is -1; it"),
    ("--average_checkpoints 2.5", "average_checkpoints is 2.5; it"),
    ("--average_checkpoints all", "average_checkpoints is 'all'; it"),
    ("--max_grad_norm -1", f"max_grad_norm is -1; it {NUMBER} above 0"),
    ("--max_grad_norm 0", "max_grad_norm is 0; it"),
    ("--max_grad_norm null", "max_grad_norm is null; it"),
    ("--max_grad_norm .nan", "max_grad_norm is nan; it"),
    ("--grad_accumulation_factor 0", f"grad_accumulation_factor is 0; it {WHOLE} of at least 1"),
    ("--grad_accumulation_factor -1", "grad_accumulation_factor is -1; it"),
    ("--grad_accumulation_factor 1.5", "grad_accumulation_factor is 1.5; it"),
    ("--ctc_weight -1", f"ctc_weight is -1; it {NUMBER} of at least 0, or a dld.gates.Ramp"),
    ("--ctc_weight abc", "ctc_weight is 'abc'; it"),
    ("--ctc_weight .inf", "ctc_weight is inf; it"),
    ("--max_batch_seconds 0", "max_batch_seconds is 0; it must be a number above 0"),
    ("--max_batch_seconds -10", "max_batch_seconds is -10; it"),
    ("--max_batch_seconds .inf", "max_batch_seconds is inf; it"),
    ("--max_batch_seconds 10s", "max_batch_seconds is '10s'; it"),
    ("--eval_batch_seconds 0", "eval_batch_seconds is 0; it"),
    ("--eval_batch_seconds null", "eval_batch_seconds is null; it"),
    ("--augment_after -1", "augment_after is -1; it"),
    ("--augment_after 0.5", "augment_after is 0.5; it"),
    ("--min_duration -1", "min_duration is -1; it must be a number of at least 0, or null"),
    ("--min_duration short", "min_duration is 'short'; it"),
    ("--max_duration 0", "max_duration is 0; it must be a number above 0, or null"),
    ("--max_duration -1", "max_duration is -1; it"),
    ("--min_duration 5 --max_duration 2", "min_duration is 5; it must be below max_duration, 2"),
    ("--min_duration 2 --max_duration 2", "min_duration is 2; it must be below max_duration, 2"),
    ("--num_workers -1", "num_workers is -1; it must be a whole number from 0 to 1024"),
    ("--num_workers 2.5", "num_workers is 2.5; it"),
    ("--num_workers auto", "num_workers is 'auto'; it"),
    ("--num_workers 100000", "num_workers is 100000; it"),
    ("--sample_rate 0", "sample_rate is 0; it must be a whole number from 1000 to 384000"),
    ("--sample_rate 16", "sample_rate is 16; it"),
    ("--sample_rate -16000", "sample_rate is -16000; it"),
    ("--sample_rate 16k", "sample_rate is '16k'; it"),
    ("--sample_rate 16000.5", "sample_rate is 16000.5; it"),
    ("--channel -1", "channel is -1; it must be a whole number of at least 0, or null"),
    ("--channel left", "channel is 'left'; it"),
    ("--ckpt_interval_minutes -1", "ckpt_interval_minutes is -1; it must be a number of at least 0"),
    ("--ckpt_interval_minutes .inf", "ckpt_interval_minutes is inf; it"),
    # Words.
    ("--precision fp8", "precision is 'fp8'; it must be fp32, bf16 or fp16"),
    ("--precision fp31", "did you mean 'fp32'?"),
    ("--precision 16", "precision is 16; it must be fp32, bf16 or fp16"),
    ("--precision BF16", "precision is 'BF16'; it"),
    (
        "--decode_policy nope",
        "decode_policy is 'nope'; it must be table, evenly-spaced, first-n, first-and-last, shallow-last or random",
    ),
    ("--decode_policy evenly_spaced", "did you mean 'evenly-spaced'?"),
    ("--decode_policy null", "decode_policy is null; it"),
    (
        "--eval_policy nope",
        "eval_policy is 'nope'; it must be evenly-spaced, first-n, first-and-last, shallow-last or random",
    ),
    ("--eval_policy table", "eval_policy is 'table'; it"),
    ("--teacher_input loud", "teacher_input is 'loud'; it must be augmented or clean"),
    # Booleans.
    ("--closed_norm no", f"closed_norm is 'no'; it {BOOLEAN}; write false"),
    ("--closed_norm off", f"closed_norm is 'off'; it {BOOLEAN}; write false"),
    ("--closed_norm yes", f"closed_norm is 'yes'; it {BOOLEAN}; write true"),
    ("--closed_norm On", f"closed_norm is 'On'; it {BOOLEAN}; write true"),
    ("--closed_norm 0", f"closed_norm is 0; it {BOOLEAN}"),
    ("--closed_norm 1", f"closed_norm is 1; it {BOOLEAN}"),
    ("--closed_norm null", f"closed_norm is null; it {BOOLEAN}"),
    ("--teacher_cache no", f"teacher_cache is 'no'; it {BOOLEAN}, or the path of a folder; write false"),
    ("--teacher_cache 1", f"teacher_cache is 1; it {BOOLEAN}, or the path of a folder"),
    ("--teacher_top_k 0", "teacher_top_k is 0; it must be a whole number of at least 1"),
    # Depths.
    ("--valid_depths [2,4,99]", "valid_depths: depth 99 is outside 1…12"),
    ("--decode_depths 13", "decode_depths: depth 13 is outside 1…12"),
    ("--decode_depths 2,13", "decode_depths: depth 13 is outside 1…12"),
    ("--valid_depths [0,2]", "valid_depths is [0, 2]; it must be all, or a list of different whole numbers"),
    ("--valid_depths []", "valid_depths is []; it"),
    ("--valid_depths [2,2]", "valid_depths is [2, 2]; it"),
    ("--valid_depths [-1]", "valid_depths is [-1]; it"),
    ("--valid_depths 2.5", "valid_depths is 2.5; it"),
    ("--valid_depths some", "valid_depths is 'some'; it"),
    ("--valid_depths null", "valid_depths is null; it"),
    ("--decode_depths {2: 4}", "decode_depths is {2: 4}; it"),
    # Texts.
    ("--exp_dir=", "exp_dir is ''; it must be the path of a folder"),
    ("--exp_dir {tab}", "it must be the path of a folder"),
    ("--system a/b", "system is 'a/b'; it must be a name without spaces and slashes"),
    ("--system 'a b'", "system is 'a b'; it must be a name without spaces and slashes"),
    ("--train_data=", "train_data is ''; it"),
    # Objects.
    ("--network 5", "network is 5; it must be made by !new: of a class"),
    ("--network null", "network is null; it"),
    ("--schedule bernoulli", "schedule is 'bernoulli'; it must be made by !new: of a class"),
    ("--schedule null", "schedule is null; it must be made by !new: of a class"),
    ("--objectives ctc", "objectives is 'ctc'; it must be a mapping of names to what is made by !new: of a class"),
    ("--objectives {ctc: 1}", "objectives is {'ctc': 1}; it must be a mapping of names"),
    ("--soft_targets teacher", "soft_targets is 'teacher'; it must be made by !new: of a class, or null"),
    ("--encoder conformer", "encoder is 'conformer'; it"),
    ("--speed_perturb true", "speed_perturb is true; it"),
    ("--lr_schedule cosine", "lr_schedule is 'cosine'; it"),
    ("--optimizer adam", "optimizer is 'adam'; it"),
]

# ---------------------------------------------------------------- inside of objects: refused by their constructors

WRONG_ARGUMENTS = [
    ("--encoder.dropout 2", "GatedConformer: dropout is 2; it must be a number of at least 0 and below 1"),
    ("--encoder.num_heads 0", "GatedConformer: num_heads is 0; it must be a whole number of at least 1"),
    ("--encoder.num_heads 5", "d_model is 64; it must be even and a multiple of num_heads, 5"),
    ("--encoder.kernel_size 4", "kernel_size is 4; it must be odd"),
    ("--encoder.kernel_size -1", "GatedConformer: kernel_size is -1"),
    ("--encoder.d_ffn 0", "GatedConformer: d_ffn is 0"),
    ("--encoder.d_ffn 256.0", "GatedConformer: d_ffn is 256.0; it must be a whole number of at least 1; write 256"),
    ("--encoder.closed_norm off", "GatedConformer: closed_norm is 'off'; it must be true or false; write false"),
    ("--encoder.subsampling conv3d", "subsampling is 'conv3d'; it must be conv1d or conv2d"),
    ("--encoder.residual_init -1", "GatedConformer: residual_init is -1; it must be a number of at least 0, or null"),
    ("--encoder.input_size 40", "the encoder's input_size is 40; it must be 80, the width of KaldiFbank's output"),
    ("--encoder !new:dld.encoders.GatedConformr", "there is no class dld.encoders.GatedConformr"),
    ("--network.vocab_size 0", "GatedCTC: vocab_size is 0"),
    ("--network.blank_bias high", "GatedCTC: blank_bias is 'high'; it must be a number"),
    ("--frontend.hop_ms 0", "KaldiFbank: hop_ms is 0; it must be a number above 0"),
    ("--frontend.hop_ms 30", "KaldiFbank: hop_ms in samples is 480; it must be a whole number from 1 to 400"),
    ("--frontend.window_ms 1e6", "KaldiFbank: window_ms in samples is 16000000; it"),
    ("--frontend.window_ms wide", "KaldiFbank: window_ms is 'wide'; it must be a number above 0"),
    ("--frontend.sample_rate 8000", "sample_rate is 16000; the front end KaldiFbank takes 8000"),
    ("--spec_augment.time_masks -1", "SpecAugment: time_masks is -1; it must be a whole number of at least 0"),
    ("--spec_augment.time_width 1.5", "SpecAugment: time_width is 1.5"),
    ("--spec_augment.freq_width x", "SpecAugment: freq_width is 'x'"),
    ("--schedule.p 1.5", "the drop probability p is 1.5; it must be a number of at least 0 and below 1"),
    ("--schedule.p -0.1", "the drop probability p is -0.1"),
    ("--schedule.p often", "the drop probability p is 'often'"),
    ("--schedule.num_blocks 0", "Bernoulli: num_blocks is 0"),
    ("--schedule.num_blocks 4", "the schedule is for 4 blocks, the encoder has 12"),
    ("--schedule.seed 1.5", "Bernoulli: seed is 1.5; it must be a whole number"),
    ("--schedule !new:dld.training.optim.Noam {peak: 1, warmup: 1}", "schedule must be a drop schedule, a class of"),
    ("--objectives {ctc: !new:dld.gates.AllOpen {num_blocks: 3}}", "objectives: ctc must be an objective"),
    ("--objectives {loss: !new:dld.training.objectives.CTC {}}", "loss is the name of their sum"),
    ("--objectives.ctc.weight -1", "objectives.ctc.weight is -1; it must be a number of at least 0, or a dld.gates"),
    ("--soft_targets !new:dld.gates.AllOpen {num_blocks: 3}", "soft_targets must be a class of dld.training.targets"),
    ("--soft_targets !new:dld.training.targets.FullDepth", "FullDepth needs a schedule that draws the full network"),
    (
        "--schedule !new:dld.gates.Bernoulli {blocks: 3}",
        "Bernoulli has no argument 'blocks'; did you mean 'num_blocks'?",
    ),
    ("--lr_schedule.peak -1", "WarmupCosine: peak is -1; it must be a number of at least 0"),
    ("--lr_schedule.warmup -1", "WarmupCosine: warmup is -1; it must be a whole number of at least 0"),
    ("--lr_schedule.warmup 0.5", "WarmupCosine: warmup is 0.5"),
    ("--optimizer.weight_decay -1", "optimizer: Invalid weight_decay value: -1"),
    ("--optimizer.betas 5", "optimizer: "),
    ("--optimizer.betas [0.9,1.5]", "optimizer: Invalid beta parameter"),
    ("--optimizer !name:torch.optim.AdamW {betaz: 1}", "AdamW has no argument 'betaz'; did you mean 'betas'?"),
    ("--optimizer.lr fast", "optimizer: "),
    (
        "--speed_perturb !new:dld.frontends.SpeedPerturb {speeds: [0]}",
        "SpeedPerturb: speeds is [0]; it must be a list of",
    ),
    ("--speed_perturb !new:dld.frontends.SpeedPerturb {speeds: []}", "SpeedPerturb: speeds is []"),
    ("--speed_perturb !new:dld.frontends.SpeedPerturb {speeds: [0.905]}", "each may have two decimals at most"),
    ("--speed_perturb !new:dld.gates.AllOpen {num_blocks: 3}", "speed_perturb must be a dld.frontends.SpeedPerturb"),
    ("--network !new:dld.frontends.Waveform", "network must be a dld.network.GatedCTC"),
    ("--ctc_weight !new:dld.gates.Ramp {start: 0, end: x, epochs: 1}", "Ramp: end is 'x'; it must be a number"),
    ("--ctc_weight !new:dld.gates.Ramp {start: 0, end: -1, epochs: 1}", "ctc_weight is Ramp"),
    ("--ctc_weight !new:dld.gates.Ramp {start: 0, end: 1, epochs: -1}", "Ramp: epochs is -1"),
    ("--kd_weight 1", "unknown key 'kd_weight'; did you mean 'ctc_weight'?"),
    ("--init_from nowhere", "init_from: nowhere: no finished model there"),
    ("--pretrained openai/whisper-tiny", "unknown key 'pretrained'"),
    ("--train_data nowhere", "train_data: nowhere is not a folder"),
]

# ---------------------------------------------------------------- overrides that would run code or cannot be read

WRONG_OVERRIDES = [
    ("--lr !apply:os.getcwd", "override --lr: the tag !apply:os.getcwd may not be in an override"),
    ("--lr !applyref:os.getcwd", "the tag !applyref:os.getcwd may not be in an override"),
    ("--lr !include:/etc/hostname", "the tag !include:/etc/hostname may not be in an override"),
    ("--lr !module:os", "the tag !module:os may not be in an override"),
    ("--lr !!python/object/apply:os.system ['touch {marker}']", "may not be in an override"),
    ("--lr !!python/name:os.system", "may not be in an override"),
    ("--exp !!python/object/apply:os.getcwd []", "may not be in an override"),
    ("--schedule !new:subprocess.Popen [touch, {marker}]", "!new:subprocess.Popen may not be in an override"),
    ("--schedule !new:dld.files.tempfile.TemporaryDirectory", "is not a class of dld, speechbrain, torch.optim"),
    ("--schedule !new:speechbrain.utils.superpowers.run_shell", "is not a class of dld, speechbrain, torch.optim"),
    ("--optimizer !name:os.system", "!name:os.system may not be in an override"),
    ("--optimizer !name:torch.optim.Adem", "there is no class torch.optim.Adem"),
    ("--schedule {a: [!apply:os.getcwd []]}", "the tag !apply:os.getcwd may not be in an override"),
    ("--optimizer.betas (!!python/object/apply:os.system ['touch {marker}'])", "is read as a tuple"),
    ("--lr !ref (!!python/object/apply:os.system ['touch {marker}<seed>'])", "is read as a tuple"),
    ("--lr !ref <encoder.__init__>", "asks for an attribute of an object"),
    ("--schedule !!binary aGVsbG8=", "schedule is b'hello'; it must be made by !new: of a class"),
    ("--schedule !new:torch.optim.SGD", "missing 1 required positional argument: 'params'"),
    ("--schedule !new:speechbrain.k2_integration.X", "there is no class speechbrain.k2_integration.X"),
    ("--lr !ref <nowhere>", 'The reference "nowhere" is not valid'),
    ("--lr !ref <lr>", "the reference <lr> leads back to itself"),
    ("--lr !ref <seed> / 0", "cannot resolve the references: division by zero"),
    ("--lr [1", "override --lr '[1' is not YAML"),
    ("--lr {a", "is not YAML"),
    ("--lrr 1", "unknown key 'lrr'; did you mean 'lr'?"),
    ("--encoder.dropuot 1", "unknown key 'encoder.dropuot'; did you mean 'encoder.dropout'?"),
    ("--lr.x 1", "unknown key 'lr.x'"),
    ("--lr", "option --lr needs a value"),
    ("lr 3", "unexpected argument 'lr'"),
    ("--=3", "unknown key ''"),
    ("-- 3", "unexpected argument"),
    ("--device cuda:99", "argument --device: 'cuda:99' is not available; it must be cpu"),
    ("--device foo", "argument --device: 'foo' is not available; it must be cpu"),
    ("--device cpu:x", "argument --device: 'cpu:x' is not available; it must be cpu"),
    ("--restart maybe", "argument --restart: expected true or false, got 'maybe'"),
    ("--distributed-backend mpi", "invalid choice: 'mpi'"),
]


def words(line, tmp_path):
    """The arguments of a case; a value may have spaces."""
    line = line.replace("{marker}", str(tmp_path / "marker")).replace("{tab}", "a\tb")
    parts = re.split(r" (?=--)", line)
    return [word for part in parts for word in part.split(" ", 1)]


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Data folders that are there, so that the values alone are at fault."""
    data = tmp_path_factory.mktemp("data")
    for name in ("train", "dev", "lang"):
        (data / name).mkdir()
    return data


@pytest.mark.parametrize(("line", "message"), WRONG_KEYS + WRONG_ARGUMENTS + WRONG_OVERRIDES)
def test_a_wrong_value_is_one_line_and_nothing_is_made(files, folders, outcome, tmp_path, monkeypatch, line, message):
    monkeypatch.chdir(tmp_path)
    settings = ["--data", folders, "--exp", tmp_path / "exp"]
    arguments = words(line, tmp_path)
    if arguments[0] == "--exp":
        settings = settings[:2]
    found = outcome("train", [*files("mini/ld"), *settings, *arguments], table=TABLE)
    assert found.kind == "error", found.message
    assert message in found.message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("mini/dld", "--teacher nowhere", "teacher: nowhere: no finished model there"),
        ("mini/dld", "--teacher null", "FrozenTeacher needs a teacher: the folder of"),
        ("mini/dld", "--objectives.kd.divergence null", "SoftTargets needs a divergence, such as"),
        ("mini/dld", "--soft_targets null", "objectives: kd needs soft_targets, such as"),
        (
            "mini/static",
            "--soft_targets !new:dld.training.targets.FullDepth {}",
            "soft_targets: no objective uses them (ctc)",
        ),
        ("mini/dld", "--kd_weight -1", "kd_weight is -1; it must be a number of at least 0, or a dld.g"),
        ("mini/dld", "--kd_weight null", "kd_weight is null; it"),
        (
            "mini/dld",
            "--kd_weight !new:dld.gates.Ramp {start: 0, end: -1, epochs: 1}",
            "kd_weight is Ramp",
        ),
        ("mini/dld_hidden", "--hidden_weight -0.5", "hidden_weight is -0.5; it"),
        (
            "mini/dld",
            "--teacher_input augmented",
            "teacher_cache needs teacher_input: clean, not augmented",
        ),
        (
            "mini/dld",
            "--soft_targets.input loud",
            "FrozenTeacher: input is 'loud'; it must be augmented or clean",
        ),
        ("mini/dld", "--temperature 0", "temperature is 0; it must be a number above 0"),
        ("mini/dld", "--objectives.kd.divergence.temperature -1", "MaskedKL: temperature is -1"),
        (
            "mini/dld",
            "--objectives.kd.divergence.direction both",
            "must be teacher-student or student-teacher",
        ),
        (
            "mini/dld",
            "--objectives.kd.divergence {blank_context: -1}",
            "blank_context is -1",
        ),
        ("mini/dedicated", "--depth 99", "depth 99 is outside 1…12"),
        ("mini/dedicated", "--depth 0", "depth is 0; it must be a whole number of at least 1"),
        ("mini/dedicated", "--schedule.policy table", "policy is 'table'; it must be evenly-spaced"),
        ("mini/dld_sandwich", "--schedule.num_random -1", "Sandwich: num_random is -1"),
        ("mini/dld_plus", "--schedule.spacing wide", "Exits: spacing is 'wide'"),
        ("mini/dld_plus", "--schedule.depths 2.5", "depths is 2.5; it must be all, or a list"),
        ("mini/dld_uniform", "--schedule.min_depth 13", "min_depth 13 is outside 1…12"),
        ("mini/dld_uniform", "--schedule.min_depth 2.5", "min_depth 2.5 is not a whole number"),
        ("mini/interctc_sd", "--schedule.weight 1", "WithExits: weight is 1; it must be a number above 0"),
        ("mini/interctc_sd", "--schedule.exits 0", "WithExits: exits is 0"),
        ("mini/interctc_sd", "--schedule.schedule 5", "schedule must be a drop schedule"),
        ("mini/self_kd", "--schedule !new:dld.gates.Bernoulli {num_blocks: 12}", "dld.gates.Sandwich"),
        (
            "mini/early_exit",
            "--network.exit_heads 1",
            "GatedCTC: exit_heads is 1; it must be true or false",
        ),
        (
            "mini/static wavlm",
            "--encoder.conv_layers [[32, 20]]",
            "GatedWavLM: conv_layers is [[32, 20]]",
        ),
        (
            "mini/static wavlm",
            "--encoder.conv_norm batch",
            "conv_norm is 'batch'; it must be group or layer",
        ),
        ("mini/static wavlm", "--encoder.layer_decay 0", "unknown key 'encoder.layer_decay'"),
        ("mini/static wavlm", "--closed_norm true", "a pre-norm block has no closing LayerNorm"),
        ("mini/static wavlm", "--frontend.normalise yes", "Waveform: normalise is 'yes'"),
        (
            "queen/static",
            "--sample_rate 8000",
            "sample_rate is 8000; the front end WhisperLogMel takes 16000",
        ),
        ("queen/static", "--stack 0", "stack is 0; it must be a whole number of at least 1"),
        ("queen/static", "--encoder.num_heads 5", "must be an even multiple of num_heads 5"),
        ("queen/static", "--n_mels 40 --frontend.n_mels 80", "input_size is 40; it must be 80"),
    ],
)
def test_wrong_values_of_other_systems(files, folders, outcome, tmp_path, name, line, message):
    # Small, to be built at once.
    small = ["--num_blocks", 2, "--d_model", 64] if "queen" in name else []
    settings = ["--data", folders, "--exp", tmp_path / "exp", *small]
    found = outcome("train", [*files(name), *settings, *words(line, tmp_path)], table=TABLE)
    assert found.kind == "error", found.message
    assert message in found.message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("StaticBrain", "brain is 'StaticBrain'; it must be made by !name: of a class"),
        ("!name:dld.gates.Bernoulli", "brain must be a subclass of dld.training.brain.DynamicBrain"),
    ],
)
def test_a_brain_of_your_own_must_be_one(files, folders, outcome, tmp_path, value, message):
    file = tmp_path / "mine.yaml"
    file.write_text(f"extends: [{', '.join(files('mini/ld'))}]\nbrain: {value}\n")
    found = outcome("train", [file, "--data", folders, "--exp", tmp_path / "exp"], table=TABLE)
    assert found.kind == "error" and message in found.message
    assert list(tmp_path.iterdir()) == [file]


ACCEPTED = [
    ("--lr 0", "the weights stay as they are: an untrained network to compare with"),
    ("--lr 1e-3", "YAML 1.2 reads it as a number"),
    ("--lr 5", "nobody can say which rate is too high for every optimizer"),
    ("--ctc_weight 0", "a student may learn from its teacher alone"),
    ("--ctc_weight !new:dld.gates.Ramp {start: 0, end: 1, epochs: 0.5}", "weights may change over epochs"),
    ("--decode_depths 4", "one depth needs no list"),
    ("--decode_depths 2,4", "as dld decode --depths"),
    ("--decode_depths all", "every depth"),
    ("--min_duration 0", "no lower limit"),
    ("--max_duration null", "no upper limit"),
    ("--ckpt_interval_minutes 0.5", "minutes may have fractions"),
    ("--max_grad_norm 1e9", "as good as no clipping"),
    ("--average_checkpoints 1000", "all that there are"),
    ("--dropout 0", "none"),
    ("--encoder.residual_init 0", "each block begins as the identity"),
    ("--spec_augment.time_masks 0", "no masks of that kind"),
    ("--speed_perturb !new:dld.frontends.SpeedPerturb", "a class with its defaults"),
    ("--speed_perturb !new:dld.frontends.SpeedPerturb {speeds: [0.95, 1.0]}", "a class with arguments"),
    ("--optimizer !name:torch.optim.SGD {lr: 0.1}", "another optimizer"),
    ("--optimizer.betas (0.9, 0.98)", "HyperPyYAML's tuples, of plain values"),
]


@pytest.mark.parametrize(("line", "reason"), ACCEPTED, ids=[case[0] for case in ACCEPTED])
def test_what_is_accepted_on_purpose(files, folders, tmp_path, record_property, line, reason):
    settings = ["--data", folders, "--exp", tmp_path / "exp", *words(line, tmp_path)]
    config = load_config(files("mini/ld"), parse_overrides(map(str, settings)))
    check_run(config.values, config.path)
    record_property("outcome", [TABLE, "accepted"])
    assert not (tmp_path / "exp").exists(), reason
