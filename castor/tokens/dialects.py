"""The dialogues there are: Castor's own, and those of the open families that are read here.

Their control ids are found by the names of their pieces, so one dialogue fits every vocabulary that
has them.
"""

from collections.abc import Callable
from functools import partial

from castor.core.content import Role
from castor.tokens.control import Control
from castor.tokens.dialogue import Clip, Dialogue, Functions, Marks, Slots

IdOf = Callable[[str], int]  # of a control piece; raises a ValueError where there is none

_IMAGE = Slots((Control.IMAGE_BEGIN,), Control.IMAGE, (Control.IMAGE_END,))
_AUDIO = Slots((Control.AUDIO_BEGIN,), Control.AUDIO, (Control.AUDIO_END,))

CASTOR = Dialogue(
    name="castor",
    begin=(Control.BOS,),
    opens={
        "system": (Control.SYSTEM,),
        "user": (Control.USER,),
        "model": (Control.MODEL,),
        "page": (Control.PAGE,),
    },
    closes=dict.fromkeys(("system", "user", "model", "page"), (Control.END,)),
    ends=(Control.END,),
    finish=(Control.EOS,),
    slots={"image": _IMAGE, "audio": _AUDIO},
    clip=Clip((Control.VIDEO_BEGIN,), _IMAGE, _AUDIO, (Control.VIDEO_END,)),
    draws=True,
    functions=Functions(
        (Control.CALL_BEGIN, Control.CALL_END), (Control.RESULT_BEGIN, Control.RESULT_END)
    ),
)


def dialogue(name: str, id_of: IdOf) -> Dialogue:
    """One of `DIALOGUES`, in the ids of a vocabulary.

    Raises:
        ValueError: there is no such dialogue, or the vocabulary lacks a control piece of it.
    """
    if name not in DIALOGUES:
        raise ValueError(f"dialogue={name!r} is none of {', '.join(DIALOGUES)}")
    return DIALOGUES[name](id_of)


def _plain(id_of: IdOf) -> Dialogue:
    """No turns at all, for models that only go on with a text or embed it."""
    nothing: dict[Role, Marks] = dict.fromkeys(("system", "user", "model", "page"), ())
    end = id_of("<eos>")
    return Dialogue("plain", (id_of("<bos>"),), nothing, nothing, (end,), finish=(end,))


def _gemma(name: str, id_of: IdOf) -> Dialogue:
    """Gemma 1 to 3: the system has no turn."""
    turn, end, eos = id_of("<start_of_turn>"), id_of("<end_of_turn>"), id_of("<eos>")
    close: Marks = (end, "\n")
    slots = {}
    if name == "gemma3":
        begin, after = id_of("<start_of_image>"), id_of("<end_of_image>")
        soft = id_of("<image_soft_token>")
        slots = {"image": Slots(("\n\n", begin), soft, (after, "\n\n"))}
    return Dialogue(
        name=name,
        begin=(id_of("<bos>"),),
        opens={"user": (turn, "user\n"), "model": (turn, "model\n"), "page": ()},
        closes={"user": close, "model": close, "page": (eos,)},
        ends=(end, eos),
        slots=slots,
        gap="\n\n",
        trims=True,
    )


def _functiongemma(id_of: IdOf) -> Dialogue:
    turn, end, eos = id_of("<start_of_turn>"), id_of("<end_of_turn>"), id_of("<eos>")
    close: Marks = (end, "\n")
    result = id_of("<start_function_response>")
    return Dialogue(
        name="functiongemma",
        begin=(id_of("<bos>"),),
        opens={
            "system": (turn, "developer\n"),
            "user": (turn, "user\n"),
            "model": (turn, "model\n"),
            "page": (),
        },
        closes={"system": close, "user": close, "model": close, "page": (eos,)},
        ends=(end, eos, result),
        functions=Functions(
            (id_of("<start_function_call>"), id_of("<end_function_call>")),
            (result, id_of("<end_function_response>")),
            quote=id_of("<escape>"),
            within=True,
        ),
        trims=True,
    )


def _gemma4(id_of: IdOf) -> Dialogue:
    turn, end, eos = id_of("<|turn>"), id_of("<turn|>"), id_of("<eos>")
    close: Marks = (end, "\n")
    result = id_of("<|tool_response>")
    begin, after = (id_of("<|image>"),), (id_of("<image|>"),)
    sound = Slots((id_of("<|audio>"),), id_of("<|audio|>"), (id_of("<audio|>"),))
    frame = Slots(begin, id_of("<|video|>"), after)
    return Dialogue(
        name="gemma4",
        begin=(id_of("<bos>"),),
        opens={
            "system": (turn, "system\n"),
            "user": (turn, "user\n"),
            "model": (turn, "model\n"),
            "page": (),
        },
        closes={"system": close, "user": close, "model": close, "page": (eos,)},
        ends=(end, eos, result),
        slots={"image": Slots(begin, id_of("<|image|>"), after), "audio": sound},
        clip=Clip((), frame, sound, (), between=" ", stamp=_minutes),
        functions=Functions(
            (id_of("<|tool_call>"), id_of("<tool_call|>")),
            (result, id_of("<tool_response|>")),
            quote=id_of('<|"|>'),
            within=True,
        ),
        hidden=(id_of("<|channel>"), id_of("<channel|>")),
        trims=True,
    )


def _minutes(stamp: str) -> str:
    """A time as minutes and seconds, e.g. "62:03 " of "1:02:03.5"."""
    *longer, seconds = stamp.split(":")
    minutes = 0
    for unit in longer:
        minutes = 60 * minutes + int(unit)
    return f"{minutes:02d}:{int(float(seconds)):02d} "


DIALOGUES: dict[str, Callable[[IdOf], Dialogue]] = {
    "castor": lambda id_of: CASTOR,
    "plain": _plain,
    "gemma": partial(_gemma, "gemma"),
    "gemma3": partial(_gemma, "gemma3"),
    "functiongemma": _functiongemma,
    "gemma4": _gemma4,
}
