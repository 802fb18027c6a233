"""Front ends: from waveforms to what an encoder takes, and the augmentations on the way."""

from dld.frontends.augmentation import SpecAugment, SpeedPerturb
from dld.frontends.base import FrontEnd
from dld.frontends.cmvn import GlobalCMVN, UtteranceCMVN
from dld.frontends.kaldi import KaldiFbank
from dld.frontends.logmel import LogMel
from dld.frontends.waveform import Waveform
from dld.frontends.whisper import WhisperLogMel

__all__ = [
    "FrontEnd",
    "GlobalCMVN",
    "KaldiFbank",
    "LogMel",
    "SpecAugment",
    "SpeedPerturb",
    "UtteranceCMVN",
    "Waveform",
    "WhisperLogMel",
]
