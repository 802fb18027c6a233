"""A network that writes nonsense on every frame, so that its texts tell of small differences, and its packs."""

import pytest

from dld.data import kaldi
from dld.export.pack import export_pack
from dld.gates import GATE_TABLE, GateTable
from dld.recognition.eager import load_experiment


@pytest.fixture(scope="session")
def babbler(experiment, tmp_path_factory):
    """Its folder: three blocks, KaldiFbank with statistics of the training data, a gate table."""
    exp = tmp_path_factory.mktemp("exported")
    folder = experiment("ld", exp, lr=0.0, num_epochs=1, **{"network.blank_bias": -5.0})
    about = load_experiment(folder).about
    vectors = {1: (False, True, False), 2: (True, False, True), 3: (True,) * 3}
    table = GateTable(3, vectors, {"state_sha256": about.state_sha256})
    table.save(folder / GATE_TABLE)
    return folder


@pytest.fixture(scope="session")
def recognizer(babbler):
    return load_experiment(babbler)


@pytest.fixture(scope="session")
def files(tiny_corpus):
    """Audio files of the test set."""
    return [utterance.recording for utterance in kaldi.load(tiny_corpus / "test")]


@pytest.fixture(scope="session")
def pack(recognizer, tiny_corpus, tmp_path_factory):
    """The float32 pack of the babbler, measured on the test set."""
    folder = tmp_path_factory.mktemp("packs") / "float32"
    export_pack(recognizer, folder, data=tiny_corpus / "test")
    return folder
