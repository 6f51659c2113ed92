"""The espeak-ng library, through its C interface: text in, samples and timed phonemes out.

Owns: the foreign structures and the one process-wide synthesiser. What a line of speech is, and what happens where
the library is absent, is `speech.py`. The command line of espeak-ng gives no phoneme times; only the library does.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import threading

import numpy as np
from numpy.typing import NDArray

from shards.errors import RequestError

_OUTPUT_SYNCHRONOUS = 2
_PHONEME_EVENTS_IN_IPA = 0x1 | 0x2
_DONT_EXIT = 0x8000  # without it the library ends the whole process when its voice data are missing
_UTF8 = 1
_EVENT_END_OF_LIST, _EVENT_PHONEME = 0, 7
_RATE, _PITCH = 1, 3  # espeak_PARAMETER

_speaking = threading.Lock()  # the library keeps one voice and one callback for the whole process


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@functools.cache
def library() -> ctypes.CDLL | None:
    """The loaded library, or None where espeak-ng is not installed."""
    for name in ("libespeak-ng.so.1", ctypes.util.find_library("espeak-ng")):
        if name is None:
            continue
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


@functools.cache
def _rate_hz() -> int:
    """Starts the synthesiser once; its sample rate."""
    lib = library()
    if lib is None:
        return 0
    return int(lib.espeak_Initialize(_OUTPUT_SYNCHRONOUS, 0, None, _PHONEME_EVENTS_IN_IPA | _DONT_EXIT))


def usable() -> bool:
    """Whether the library is here together with its voice data."""
    return library() is not None and _rate_hz() > 0


def synthesise(
    text: str, *, voice: str, speed_wpm: int, pitch: int
) -> tuple[NDArray[np.int16], int, list[tuple[str, float]]]:
    """Samples, their rate, and (IPA symbol, start in seconds) for every phoneme; a pause has the empty symbol."""
    lib, rate = library(), _rate_hz()
    if lib is None or rate <= 0:
        raise RuntimeError("synthesise() needs usable()")
    pieces: list[NDArray[np.int16]] = []
    phonemes: list[tuple[str, float]] = []

    def heard(wave: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        if wave and count > 0:
            pieces.append(np.ctypeslib.as_array(wave, (count,)).astype(np.int16))
        place = 0
        while events[place].type != _EVENT_END_OF_LIST:
            event = events[place]
            if event.type == _EVENT_PHONEME:
                # Eight bytes, not always ended by a zero and sometimes cut inside a character.
                phonemes.append((event.id.string.decode("utf-8", "ignore"), event.sample / rate))
            place += 1
        return 0

    with _speaking:
        callback = _Callback(heard)
        lib.espeak_SetSynthCallback(callback)
        if lib.espeak_SetVoiceByName(voice.encode()) != 0:
            raise RequestError(
                "espeak-ng has no such voice; `espeak-ng --voices` lists them", field="voice", value=voice
            )
        lib.espeak_SetParameter(_RATE, speed_wpm, 0)
        lib.espeak_SetParameter(_PITCH, pitch, 0)
        data = text.encode() + b"\0"
        status = lib.espeak_Synth(data, len(data), 0, 1, 0, _UTF8, None, None)
        lib.espeak_Synchronize()
    if status != 0 or not pieces:
        raise RuntimeError(f"espeak-ng said nothing (status {status}) for voice {voice!r}, text {text!r}")
    return np.concatenate(pieces), rate, phonemes
