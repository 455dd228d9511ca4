"""Vocabularies of other families: their control pieces before the texts of one of ours."""

from castor.tokens.proto import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED, Piece, bpe_model
from castor.tokens.vocab import Vocab

FIRST = ("<pad>", "<eos>", "<bos>")
TURNS = ("<start_of_turn>", "<end_of_turn>")
IMAGES = ("<start_of_image>", "<end_of_image>", "<image_soft_token>")
FUNCTIONS = (
    *("<start_function_call>", "<end_function_call>", "<escape>"),
    *("<start_function_response>", "<end_function_response>"),
)
GEMMA4 = (
    *("<|turn>", "<turn|>", "<|image>", "<|image|>", "<image|>", "<|audio>", "<|audio|>"),
    *("<audio|>", "<|video|>", "<|tool_call>", "<tool_call|>", "<|tool_response>"),
    *("<tool_response|>", '<|"|>', "<|channel>", "<channel|>", "<|think|>"),
)
CONTROLS = {
    "plain": (),
    "gemma": TURNS,
    "gemma3": TURNS + IMAGES,
    "functiongemma": TURNS + FUNCTIONS,
    "gemma4": GEMMA4,
}
LINES = tuple("\n" * n for n in range(1, 5))


def pieces(name: str, ours: Vocab) -> list[Piece]:
    """The pieces of a family's vocabulary: its control ids, line ends, bytes, and our texts."""
    controls = [Piece(text, 0.0, CONTROL) for text in (*FIRST, *CONTROLS[name])]
    controls.insert(3, Piece("<unk>", 0.0, UNKNOWN))
    lines = [Piece(text, 0.0, USER_DEFINED) for text in LINES]
    texts = [p for p in ours.pieces if p.kind in (NORMAL, BYTE) and p.text not in LINES]
    return [*controls, *lines, *texts]


def family(name: str, ours: Vocab) -> Vocab:
    """A vocabulary that speaks a family's dialogue."""
    return Vocab(bpe_model(pieces(name, ours)), codes=0, dialogue=name)


def shown(ids: list[int], vocab: Vocab) -> str:
    """Ids as a person reads them: control ids by their names."""
    return "".join(
        vocab.piece_bytes(i).decode(errors="replace") if vocab.is_text(i) else vocab.pieces[i].text
        for i in ids
    )
