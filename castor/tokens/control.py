"""The control ids of Castor's own vocabularies. Those of other families are pieces with names."""

from enum import IntEnum

CONTROLS = 64  # ids below this are control ids, some of them held in reserve [ours]
SIDES = 32  # a drawn picture is at most this many codes high and wide [ours]


class Control(IntEnum):
    """Ids that no text can reach. SIDE_1 to SIDE_32 follow `SIDE` (a picture's height, width)."""

    PAD = 0
    EOS = 1
    BOS = 2
    UNK = 3
    SYSTEM = 4
    USER = 5
    MODEL = 6
    PAGE = 7
    END = 8
    IMAGE_BEGIN = 9
    IMAGE = 10
    IMAGE_END = 11
    AUDIO_BEGIN = 12
    AUDIO = 13
    AUDIO_END = 14
    VIDEO_BEGIN = 15
    VIDEO_END = 16
    DRAW_BEGIN = 17
    DRAW_END = 18
    CALL_BEGIN = 19
    CALL_END = 20
    RESULT_BEGIN = 21
    RESULT_END = 22
    SIDE = 31  # SIDE + n is the id of side n, 1 to 32
