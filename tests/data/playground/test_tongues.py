"""Small phrases with the right articles, endings, numbers and word order in six languages."""

import re

import pytest

from castor.data.playground.ink import PALETTE
from castor.data.playground.ink import SHAPES as DRAWN_SHAPES
from castor.data.playground.languages import TONGUES
from castor.data.playground.scenes import PLACES, Group
from castor.data.playground.tongues import capital

SCENE = (Group("left", 2, "red", "star"), Group("right", 1, "orange", "circle"))
FOUR = (Group("corners", 4, "black", "heart"),)
THREE = (
    Group("top left", 1, "green", "cross"),
    Group("top right", 1, "purple", "square"),
    Group("bottom left", 1, "yellow", "triangle"),
)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("en", "Draw two red stars on the left and an orange circle on the right."),
        ("de", "Zeichne zwei rote Sterne links und einen orangefarbenen Kreis rechts."),
        ("fr", "Dessine deux étoiles rouges à gauche et un cercle orange à droite."),
        ("es", "Dibuja dos estrellas rojas a la izquierda y un círculo naranja a la derecha."),
        ("zh", "请画：左边两个红色的星形，右边一个橙色的圆形。"),
        ("sw", "Chora nyota mbili nyekundu kushoto na duara la machungwa kulia."),
    ],
)
def test_two_groups_are_asked_for(code: str, sentence: str) -> None:
    tongue = TONGUES[code]
    assert tongue.asks("draw", scene=tongue.describe(SCENE))[0] == sentence


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("en", "four black hearts in the corners"),
        ("de", "vier schwarze Herzen in den Ecken"),
        ("fr", "quatre cœurs noirs dans les coins"),
        ("es", "cuatro corazones negros en las esquinas"),
        ("zh", "四个角四个黑色的心形"),
        ("sw", "mioyo minne myeusi kwenye pembe"),
    ],
)
def test_four_equal_things_are_described(code: str, words: str) -> None:
    assert TONGUES[code].describe(FOUR) == words


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("en", "a green cross at the top left, a purple square at the top right and a yellow"),
        ("de", "ein grünes Kreuz oben links, ein violettes Quadrat oben rechts und ein gelbes"),
        ("fr", "une croix verte en haut à gauche, un carré violet en haut à droite et un"),
        ("sw", "msalaba wa kijani juu kushoto, mraba wa zambarau juu kulia na pembetatu ya njano"),
    ],
)
def test_three_groups_are_joined_with_commas(code: str, words: str) -> None:
    assert TONGUES[code].describe(THREE).startswith(words)


@pytest.mark.parametrize(
    ("code", "shape", "question"),
    [
        ("en", "circle", "What color is the circle?"),
        ("de", "circle", "Welche Farbe hat der Kreis?"),
        ("de", "square", "Welche Farbe hat das Quadrat?"),
        ("de", "diamond", "Welche Farbe hat die Raute?"),
        ("fr", "circle", "De quelle couleur est le cercle ?"),
        ("fr", "star", "De quelle couleur est l'étoile ?"),
        ("fr", "ring", "De quelle couleur est l'anneau ?"),
        ("fr", "cross", "De quelle couleur est la croix ?"),
        ("es", "heart", "¿De qué color es el corazón?"),
        ("es", "moon", "¿De qué color es la luna?"),
        ("zh", "triangle", "三角形是什么颜色？"),
        ("sw", "circle", "Duara lina rangi gani?"),
        ("sw", "square", "Mraba una rangi gani?"),
        ("sw", "star", "Nyota ina rangi gani?"),
    ],
)
def test_articles_and_verbs_agree_with_the_noun(code: str, shape: str, question: str) -> None:
    assert TONGUES[code].asks("colour", shape=shape)[0] == question


@pytest.mark.parametrize(
    ("code", "shape", "colour", "question"),
    [
        ("en", "star", "orange", "Is there an orange star?"),
        ("en", "cross", "", "Is there a cross?"),
        ("de", "circle", "green", "Gibt es einen grünen Kreis?"),
        ("de", "heart", "pink", "Gibt es ein rosa Herz?"),
        ("de", "diamond", "teal", "Gibt es eine türkisfarbene Raute?"),
        ("fr", "star", "purple", "Y a-t-il une étoile violette ?"),
        ("fr", "ring", "gray", "Y a-t-il un anneau gris ?"),
        ("fr", "moon", "brown", "Y a-t-il une lune marron ?"),
        ("es", "cross", "yellow", "¿Hay una cruz amarilla?"),
        ("es", "rectangle", "blue", "¿Hay un rectángulo azul?"),
        ("zh", "ring", "blue", "图中有蓝色的圆环吗？"),
        ("sw", "heart", "red", "Je, kuna moyo mwekundu?"),
        ("sw", "circle", "black", "Je, kuna duara jeusi?"),
        ("sw", "star", "green", "Je, kuna nyota ya kijani?"),
        ("sw", "star", "", "Je, kuna nyota?"),
    ],
)
def test_adjectives_agree_in_the_singular(
    code: str, shape: str, colour: str, question: str
) -> None:
    assert TONGUES[code].asks("exists", shape=shape, colour=colour)[0] == question


@pytest.mark.parametrize(
    ("code", "shape", "colour", "question"),
    [
        ("en", "cross", "red", "How many red crosses are there?"),
        ("de", "star", "blue", "Wie viele blaue Sterne gibt es?"),
        ("fr", "star", "", "Combien d'étoiles y a-t-il ?"),
        ("fr", "ring", "blue", "Combien d'anneaux bleus y a-t-il ?"),
        ("fr", "cross", "green", "Combien de croix vertes y a-t-il ?"),
        ("es", "circle", "brown", "¿Cuántos círculos marrones hay?"),
        ("es", "moon", "black", "¿Cuántas lunas negras hay?"),
        ("zh", "heart", "pink", "图中有几个粉色的心形？"),
        ("sw", "circle", "red", "Kuna maduara mangapi mekundu?"),
        ("sw", "square", "blue", "Kuna miraba mingapi ya bluu?"),
        ("sw", "star", "yellow", "Kuna nyota ngapi za njano?"),
        ("sw", "star", "", "Kuna nyota ngapi?"),
    ],
)
def test_plurals_agree_when_things_are_counted(
    code: str, shape: str, colour: str, question: str
) -> None:
    assert TONGUES[code].asks("count", shape=shape, colour=colour)[0] == question


@pytest.mark.parametrize(
    ("code", "question", "answer"),
    [
        ("en", "What shape is purple?", "purple"),
        ("de", "Welche Form ist violett?", "violett"),
        ("fr", "Quelle forme est violette ?", "violet"),
        ("es", "¿Qué figura es morada?", "morado"),
        ("zh", "紫色的是什么形状？", "紫色"),
        ("sw", "Umbo lipi ni la zambarau?", "zambarau"),
    ],
)
def test_the_word_for_shape_has_its_own_gender(code: str, question: str, answer: str) -> None:
    assert TONGUES[code].asks("shape", colour="purple")[0] == question
    assert TONGUES[code].colour("purple") == answer


@pytest.mark.parametrize(
    ("code", "question"),
    [
        ("en", "What is 7 plus 5?"),
        ("de", "Was ist 7 plus 5?"),
        ("fr", "Combien font 7 plus 5 ?"),
        ("es", "¿Cuánto es 7 más 5?"),
        ("zh", "7加5等于几？"),
        ("sw", "7 jumlisha 5 ni ngapi?"),
    ],
)
def test_sums_are_asked(code: str, question: str) -> None:
    assert TONGUES[code].asks("plus", a="7", b="5")[0] == question


@pytest.mark.parametrize("code", TONGUES)
def test_every_language_has_every_word(code: str) -> None:
    tongue = TONGUES[code]
    assert set(tongue.shapes) == set(DRAWN_SHAPES)
    assert set(tongue.colours) == set(PALETTE)
    assert set(tongue.places) == set(PLACES)
    assert len(tongue.numbers) == 13
    for words in (
        [noun.one for noun in tongue.shapes.values()],
        [tongue.colour(name) for name in PALETTE],
        tongue.places.values(),
        tongue.numbers,
        (tongue.yes, tongue.no),
    ):
        assert len(set(words)) == len(list(words))


@pytest.mark.parametrize("code", TONGUES)
def test_no_phrase_has_a_gap_or_a_leftover(code: str) -> None:
    tongue = TONGUES[code]
    for shape in DRAWN_SHAPES:
        for colour in (*PALETTE, ""):
            for question in ("exists", "count", "where"):
                for sentence in tongue.asks(question, shape=shape, colour=colour):
                    assert not re.search(r"[{}]|  | [.?](?!$)| \?$(?<! \?)", sentence)
                    assert sentence == capital(sentence)
                    assert code == "fr" or " ?" not in sentence


def test_a_capital_follows_an_opening_mark() -> None:
    assert capital("¿hay un círculo?") == "¿Hay un círculo?"
    assert capital("été") == "Été" and capital("") == ""
