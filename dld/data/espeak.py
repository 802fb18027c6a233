"""Speech synthesis with the espeak-ng library that the Python package `espeakng_loader` carries.

espeak-ng keeps state from one utterance to the next (wave phase, random numbers of the breath noise), so the same
text sounds a little different the second time, even after the engine is started again. One list of
utterances is therefore spoken by one fresh process: its output depends on the list alone, never on what was spoken
before or at the same time. Run as a module, this file is that process; it imports nothing heavy, so that starting it
is cheap.

espeak-ng and its voices are under GPL-3; they are used at run time only and no part of them is in this package.
"""

import ctypes
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

from dld.errors import DldError

SAMPLE_RATE = 22050
"""What espeak-ng's voices produce, in samples per second."""

# Constants of espeak-ng's public header speak_lib.h.
_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_POSITION_CHARACTER = 1
_CHARACTERS_UTF8 = 1
_PARAMETERS = {"rate": 1, "pitch": 3, "range": 4, "gap": 7}


def available() -> bool:
    """Return whether the package `espeakng_loader` can be imported."""
    from importlib.util import find_spec

    return find_spec("espeakng_loader") is not None


def speak(voice: str, utterances: list[dict]) -> list[bytes]:
    """Speak a list of utterances with one voice, in a process of its own.

    Parameters
    ----------
    voice : str
        espeak-ng's name of the voice, with a variant after "+" (`en-us+f3`).
    utterances : list of dict
        `text`, and optionally `rate` (words per minute), `pitch` and `range` (0 to 100, 50 is the voice's own)
        and `gap` (extra silence between words, units of 10 ms).

    Returns
    -------
    list of bytes
        16-bit PCM in the machine's byte order, mono, `SAMPLE_RATE` samples per second; one per utterance.

    Raises
    ------
    DldError
        `espeakng_loader` is not installed, the voice does not exist, or the engine fails.

    Examples
    --------
    >>> speech, = speak("en-us+f3", [{"text": "one two", "rate": 180}])
    >>> 0.5 < len(speech) / 2 / SAMPLE_RATE < 2.0
    True
    """
    if not available():
        raise DldError("the speech synthesiser is missing: install it with `pip install espeakng-loader`")
    path = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps({"voice": voice, "utterances": utterances}).encode(),
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
        check=False,
    )
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {done.returncode}"]
        raise DldError(f"voice {voice}: espeak-ng failed: {reason[-1]}")
    speech, offset = [], 0
    for utterance in utterances:
        (size,) = struct.unpack_from("=I", done.stdout, offset)
        offset += 4
        speech.append(done.stdout[offset : offset + size])
        offset += size
        if not size:
            raise DldError(f"voice {voice}: espeak-ng made no sound for “{utterance['text']}”")
    return speech


def _start():
    """Start the engine and return the library and the list that its output is appended to."""
    import espeakng_loader

    library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
    rate = library.espeak_Initialize(
        _OUTPUT_SYNCHRONOUS, 0, os.fsencode(espeakng_loader.get_data_path()), _INITIALIZE_DONT_EXIT
    )
    if rate != SAMPLE_RATE:
        sys.exit(f"espeak-ng started with {rate} samples per second, {SAMPLE_RATE} expected; reinstall espeakng-loader")
    # The engine seeds its random numbers (breath, jitter) with the time of day.
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))
    chunks = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
    def receive(samples, count, _events):
        if samples and count > 0:
            chunks.append(ctypes.string_at(samples, 2 * count))
        return 0

    library.espeak_SetSynthCallback(receive)
    library.receive = receive  # the engine holds only a pointer: keep the callback alive
    return library, chunks


def _serve():
    """Read one list of utterances from standard input, write their speech to standard output."""
    job = json.load(sys.stdin)
    # Whatever the engine prints must not land between the samples.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    library, chunks = _start()
    if library.espeak_SetVoiceByName(job["voice"].encode()):
        sys.exit("no such voice")
    for utterance in job["utterances"]:
        for name, number in _PARAMETERS.items():
            if name in utterance:
                library.espeak_SetParameter(number, int(utterance[name]), 0)
        text = utterance["text"].encode() + b"\0"
        chunks.clear()
        if library.espeak_Synth(text, len(text), 0, _POSITION_CHARACTER, 0, _CHARACTERS_UTF8, None, None):
            sys.exit(f"cannot speak “{utterance['text']}”")
        speech = b"".join(chunks)
        output.write(struct.pack("=I", len(speech)) + speech)
    output.close()


if __name__ == "__main__":
    _serve()
