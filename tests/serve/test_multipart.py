"""Bodies of two parts: however they are cut, the same comes out."""

from hypothesis import given, settings
from hypothesis import strategies as st

from castor.serve.multipart import Multipart
from tests.serve.routed import cut


@settings(max_examples=60, deadline=None)
@given(
    content=st.binary(max_size=60) | st.just(b"\r\n--edg\r\n--edge-less\r\n-"),
    places=st.lists(st.integers(0, 300), max_size=8),
    quoted=st.booleans(),
)
def test_any_cut_of_a_multipart_body_gives_the_same_parts(
    content: bytes, places: list[int], quoted: bool
) -> None:
    head = b'--edge!\r\nContent-Type: application/json\r\n\r\n{"file": {"name": "x"}}\r\n'
    body = head + b"--edge!\r\ncontent-type: text/x\r\n\r\n" + content + b"\r\n--edge!--\r\n"
    parser = Multipart(f"multipart/related; boundary={'"edge!"' if quoted else 'edge!'}")
    found = b"".join(parser.feed(piece) for _, piece in cut(body, places))
    parser.close()
    assert found == content
    assert (parser.metadata, parser.mime) == ({"file": {"name": "x"}}, "text/x")


def test_what_comes_after_the_last_boundary_does_not_count() -> None:
    parser = Multipart("multipart/related; boundary=b")
    assert parser.feed(b"--b\r\n\r\n{}\r\n--b\r\n\r\nabc\r\n--b--\r\n") == b"abc"
    assert parser.feed(b"more\r\n--b") == b""
