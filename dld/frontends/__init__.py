"""Front ends: from waveforms to what an encoder takes, and the augmentations on the way."""

from dld.frontends.augmentation import SpecAugment, SpeedPerturb
from dld.frontends.cmvn import GlobalCMVN, UtteranceCMVN
from dld.frontends.logmel import LogMel
from dld.frontends.waveform import Waveform
from dld.frontends.whisper import WhisperLogMel

__all__ = ["GlobalCMVN", "LogMel", "SpecAugment", "SpeedPerturb", "UtteranceCMVN", "Waveform", "WhisperLogMel"]
