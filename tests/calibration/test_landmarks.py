from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.landmarks import MAX_FILE_BYTES, check_on_pitch, load_cvat, parse_cvat, parse_label
from tests.calibration.scene import clicked, to_xml, truth
from touchline.errors import InputError, TouchlineError


def xml(points: str, image: str = 'name="a.jpg" width="3072" height="1728"') -> bytes:
    return f"<annotations><image id='0' {image}>{points}</image></annotations>".encode()


def test_a_cvat_file_is_read():
    data = b"""<?xml version="1.0" encoding="utf-8"?><annotations><meta><task><labels>
      <label><name>(0,0)</name></label><label><name>(105, 68)</name></label><label><name>ball</name></label>
    </labels></task></meta><image id="0" name="a.jpg" width="3072" height="1728">
      <points label="(16.5,0)" occluded="0" points="1912.70,773.00" z_order="0"></points>
      <points label="( 0 , 68 )" points="12,1700.5"/></image></annotations>"""
    found = parse_cvat(data, "a.xml")
    assert (found.image_name, found.image_size_px) == ("a.jpg", (3072, 1728))
    assert [(click.pitch_m, click.px) for click in found.clicks] == [
        ((16.5, 0.0), (1912.7, 773.0)),
        ((0.0, 68.0), (12.0, 1700.5)),
    ]
    assert found.labels == ((0.0, 0.0), (105.0, 68.0))


def test_what_is_written_is_read_back():
    landmarks = clicked(truth())
    assert [c.label for c in parse_cvat(to_xml(landmarks), "x").clicks] == [c.label for c in landmarks.clicks]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not readable XML"),
        (b"<a>", "not readable XML"),
        (b"\x00\x01", "not readable XML"),
        (b'<?xml version="1.0" encoding="klingon"?><a/>', "not readable XML"),
        (b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "has a DTD"),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "has a DTD"),
        (b"<annotations/>", "has no landmarks"),
        (xml(""), "has no landmarks"),
        (xml('<points label="corner" points="1,2"/>'), "label 'corner' is not a pitch position"),
        (xml('<points label="(1,2" points="1,2"/>'), "is not a pitch position"),
        (xml('<points label="(nan,2)" points="1,2"/>'), "is not a pitch position"),
        (xml('<points points="1,2"/>'), "label '' is not a pitch position"),
        (xml('<points label="(1,2)" points="1,2;3,4"/>'), "has points '1,2;3,4'"),
        (xml('<points label="(1,2)" points="1e9,2"/>'), "has points"),
        (xml('<points label="(1,2)"/>'), "has points ''"),
        (xml('<points label="(1,2)" points="4000,2"/>'), "outside the 3072x1728 image"),
        (xml('<points label="(1,2)" points="1,-2"/>'), "outside the 3072x1728 image"),
        (xml("", 'name="a" width="0" height="2"'), "image width is '0'"),
        (xml("", 'name="a" width="12" height="-2"'), "image height is '-2'"),
        (xml("", 'name="a" width="12"'), "image height is ''"),
    ],
)
def test_bad_files_are_refused_with_the_reason(data, message):
    with pytest.raises(InputError, match=r"a\.xml") as caught:
        parse_cvat(data, "a.xml")
    assert message in caught.value.message
    assert caught.value.hint


def test_errors_name_the_line():
    data = xml('\n\n<points label="corner" points="1,2"/>')
    with pytest.raises(InputError, match=r"a\.xml:3: label"):
        parse_cvat(data, "a.xml")


def test_several_images_need_a_choice():
    one = '<image name="{}" width="10" height="10"><points label="(1,2)" points="1,2"/></image>'
    data = f"<a>{one.format('left')}{one.format('right')}</a>".encode()
    with pytest.raises(InputError, match="several images: left, right"):
        parse_cvat(data, "a.xml")
    assert parse_cvat(data, "a.xml", "right").image_name == "right"
    with pytest.raises(InputError, match="no landmarks for image 'middle'"):
        parse_cvat(data, "a.xml", "middle")


def test_missing_folder_and_huge_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_cvat(tmp_path / "none.xml")
    with pytest.raises(InputError, match="cannot be read"):
        load_cvat(tmp_path)
    big = tmp_path / "big.xml"
    big.write_bytes(b" " * (MAX_FILE_BYTES + 1))
    with pytest.raises(InputError, match="larger than"):
        load_cvat(big)


def test_labels_off_the_pitch_are_refused():
    with pytest.raises(InputError, match=r"label \(0,68\) is off the 100 x 64 m pitch"):
        check_on_pitch(parse_cvat(xml('<points label="(0,68)" points="1,2"/>'), "a.xml"), (100.0, 64.0))


def test_relabelling():
    landmarks = parse_cvat(xml('<points label="(0,14.84)" points="1,2"/>'), "a.xml")
    changed = landmarks.relabelled([("(0,14.84)", "(0,13.84)")])
    assert changed.clicks[0].pitch_m == (0.0, 13.84)
    with pytest.raises(InputError, match=r"has no landmark '\(9,9\)'"):
        landmarks.relabelled([("(9,9)", "(1,1)")])
    with pytest.raises(InputError, match="label 'x' is not"):
        landmarks.relabelled([("(0,14.84)", "x")])


@given(st.text(max_size=30))
def test_any_text_is_a_label_or_none(text):
    place = parse_label(text)
    assert place is None or len(place) == 2


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes_give_landmarks_or_an_input_error(data):
    try:
        parse_cvat(data, "a.xml")
    except TouchlineError as error:
        assert isinstance(error, InputError)


@given(st.integers(0, 2_000), st.binary(max_size=6), st.integers(0, 40))
@settings(max_examples=300, deadline=None)
def test_damaged_files_give_landmarks_or_an_input_error(position, junk, cut):
    data = to_xml(clicked(truth()))
    damaged = data[:position] + junk + data[position + cut :]
    try:
        assert parse_cvat(damaged, "a.xml").clicks
    except TouchlineError as error:
        assert isinstance(error, InputError)
