"""The shared library and its functions, declared as sluice/sluice.h has them."""
import ctypes
import ctypes.util
import enum
import os
from ctypes import (CFUNCTYPE, POINTER, byref, c_char_p, c_double, c_float, c_int, c_int32, c_int64, c_size_t, c_uint64,
                    c_void_p)


class Status(enum.IntEnum):
    OK = 0
    USAGE = 1
    NOT_FOUND = 2
    INVALID_FILE = 3
    UNSUPPORTED = 4
    OUT_OF_MEMORY = 5
    IO = 6
    CANCELLED = 7
    CONTEXT_FULL = 8
    INTERNAL = 100


class Error(Exception):
    """What went wrong: one line for a person, and `status` for a program."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class Options(ctypes.Structure):
    _fields_ = [("device", c_char_p), ("threads", c_size_t), ("pin_threads", c_int), ("exact", c_int),
                ("context_tokens", c_int64), ("chunk_tokens", c_int64), ("kv_format", c_char_p),
                ("ram_bytes", c_uint64), ("io", c_char_p), ("direct_io", c_char_p), ("look_ahead", c_char_p),
                ("warm_start", c_char_p)]


class ExpertCounters(ctypes.Structure):
    _fields_ = [("hits", c_uint64), ("misses", c_uint64), ("joined", c_uint64), ("reads", c_uint64),
                ("failed_reads", c_uint64), ("bytes_read", c_uint64), ("prefetch_reads", c_uint64),
                ("prefetch_hits", c_uint64), ("warm_reads", c_uint64), ("warm_hits", c_uint64),
                ("warm_bytes", c_uint64), ("row_reads", c_uint64), ("row_hits", c_uint64), ("row_bytes", c_uint64),
                ("host_hits", c_uint64), ("copies", c_uint64), ("copied_bytes", c_uint64),
                ("reached_bytes", c_uint64), ("copies_waited", c_uint64),
                ("stall_seconds", c_double)]


class Statistics(ctypes.Structure):
    _fields_ = [("experts", ExpertCounters), ("peak_resident_bytes", c_uint64), ("tokens_evaluated", c_uint64),
                ("cache_bytes", c_uint64), ("ram_bytes", c_uint64), ("kv_bytes_per_token", c_uint64)]


Mask = CFUNCTYPE(None, POINTER(c_int32), c_size_t, POINTER(c_uint64), c_size_t, c_void_p)
Progress = CFUNCTYPE(c_int, c_int64, c_int64, c_void_p)


class GenerationOptions(ctypes.Structure):
    _fields_ = [("temperature", c_double), ("top_k", c_int64), ("top_p", c_double), ("min_p", c_double),
                ("repetition_penalty", c_double), ("presence_penalty", c_double), ("frequency_penalty", c_double),
                ("seed", c_uint64), ("max_tokens", c_int64), ("ignore_eos", c_int), ("stop", POINTER(c_char_p)),
                ("stop_count", c_size_t), ("bias_ids", POINTER(c_int32)), ("bias_values", POINTER(c_double)),
                ("bias_count", c_size_t), ("log_probabilities", c_int64), ("mask", Mask), ("mask_user", c_void_p)]


_IDS = POINTER(c_int32)
_SIZE = POINTER(c_size_t)
# Name: (what it returns, what it takes). c_int as a result is a status, which check() looks at.
FUNCTIONS = {
    "sluice_version": (c_char_p, []),
    "sluice_last_error": (c_char_p, []),
    "sluice_last_status": (c_int, []),
    "sluice_model_open": (c_int, [c_char_p, POINTER(Options), POINTER(c_void_p)]),
    "sluice_model_close": (None, [c_void_p]),
    "sluice_model_vocabulary": (c_int64, [c_void_p]),
    "sluice_model_context": (c_int64, [c_void_p]),
    "sluice_model_statistics": (None, [c_void_p, POINTER(Statistics)]),
    "sluice_tokenize": (c_int, [c_void_p, c_char_p, _IDS, _SIZE]),
    "sluice_detokenize": (c_int, [c_void_p, _IDS, c_size_t, c_char_p, _SIZE]),
    "sluice_session_create": (c_int, [c_void_p, POINTER(c_void_p)]),
    "sluice_session_free": (None, [c_void_p]),
    "sluice_session_position": (c_int64, [c_void_p]),
    "sluice_session_set_progress": (None, [c_void_p, Progress, c_void_p]),
    "sluice_session_evaluate": (c_int, [c_void_p, _IDS, c_size_t, c_int64]),
    "sluice_session_evaluate_all": (c_int, [c_void_p, _IDS, c_size_t, c_int64]),
    "sluice_session_evaluate_token": (c_int, [c_void_p, c_int32]),
    "sluice_session_logits": (POINTER(c_float), [c_void_p, _SIZE]),
    "sluice_session_truncate": (c_int, [c_void_p, c_int64]),
    "sluice_session_state_bytes": (c_uint64, [c_void_p]),
    "sluice_session_save": (c_int, [c_void_p, c_char_p]),
    "sluice_session_load": (c_int, [c_void_p, c_char_p]),
    "sluice_session_checkpoint": (c_int, [c_void_p, POINTER(c_int64)]),
    "sluice_session_restore": (c_int, [c_void_p, c_int64]),
    "sluice_session_drop_checkpoint": (c_int, [c_void_p, c_int64]),
    "sluice_generation_defaults": (None, [c_void_p, POINTER(GenerationOptions)]),
    "sluice_generation_begin": (c_int, [c_void_p, _IDS, c_size_t, POINTER(GenerationOptions), POINTER(c_void_p)]),
    "sluice_generation_begin_text": (c_int, [c_void_p, c_char_p, POINTER(GenerationOptions), POINTER(c_void_p)]),
    "sluice_step": (c_int, [c_void_p, POINTER(c_void_p), c_size_t, c_int64]),
    "sluice_generation_finished": (c_int, [c_void_p]),
    "sluice_generation_finish_reason": (c_int, [c_void_p]),
    "sluice_generation_error": (c_int, [c_void_p]),
    "sluice_generation_take_text": (c_int, [c_void_p, c_char_p, _SIZE]),
    "sluice_generation_tokens": (c_int, [c_void_p, _IDS, _SIZE]),
    "sluice_generation_log_probability": (c_int, [c_void_p, c_size_t, POINTER(c_float), _IDS, POINTER(c_float), _SIZE]),
    "sluice_generation_progress": (None, [c_void_p, POINTER(c_int64), POINTER(c_int64)]),
    "sluice_generation_cancel": (None, [c_void_p]),
    "sluice_generation_free": (None, [c_void_p]),
}


def _load():
    """The library that SLUICE_LIBRARY names, else the installed one."""
    named = os.environ.get("SLUICE_LIBRARY")
    found = named or ctypes.util.find_library("sluice") or "libsluice.so.0"
    try:
        loaded = ctypes.CDLL(found)
    except OSError as error:
        raise ImportError(f"the Sluice library is not there ({error}); `cmake --install` puts it where the system "
                          "looks, and SLUICE_LIBRARY names another place") from None
    for name, (result, arguments) in FUNCTIONS.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


library = _load()


def check(status):
    if status != Status.OK:
        raise Error(Status(status), library.sluice_last_error().decode(errors="replace"))


def version():
    return library.sluice_version().decode()


def path_bytes(path):
    return os.fsencode(os.path.expanduser(path))


def id_array(ids):
    ids = list(ids)
    return (c_int32 * len(ids))(*ids)


def fill(element, call):
    """An array that `call(array, count)` fills, asked first how much there is."""
    count = c_size_t(0)
    status = call(None, byref(count))
    if status == Status.OK and count.value == 0:
        return (element * 0)()
    if status not in (Status.OK, Status.USAGE) or count.value == 0:
        check(status)
    array = (element * count.value)()
    check(call(array, byref(count)))
    return array
