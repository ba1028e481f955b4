"""Facts about folders of pictures and what is declared of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from edgesdk.data.preprocessing import Preprocessing
from edgesdk.data.samples import Samples, open_samples
from edgesdk.errors import DataError, ProjectError
from edgesdk.models.types import TensorSpec
from edgesdk.project import load_preprocessing

NHWC = TensorSpec("image", (1, 8, 6, 3), "float32")
NCHW = TensorSpec("image", (1, 3, 8, 6), "float32")
EXACT = Preprocessing(resize=(8, 6))


def picture(path: Path, height: int = 8, width: int = 6, seed: int = 0) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(values).save(path)
    return values


def opened(folder: Path, preprocessing: Preprocessing | None, spec: TensorSpec = NHWC) -> Samples:
    return open_samples(str(folder), [spec], preprocessing=preprocessing)


def refused(folder: Path, preprocessing: Preprocessing | None, *specs: TensorSpec) -> DataError:
    with pytest.raises(DataError) as caught:
        open_samples(str(folder), specs or (NHWC,), preprocessing=preprocessing)
    return caught.value


def test_a_picture_of_the_right_size_arrives_as_it_is(tmp_path: Path) -> None:
    values = picture(tmp_path / "a.png")
    (sample,) = opened(tmp_path, EXACT).head(2)
    assert np.array_equal(sample["image"][0], values)


def test_the_steps_are_color_scale_mean_std_and_layout(tmp_path: Path) -> None:
    values = picture(tmp_path / "a.png").astype(np.float32)
    declared = Preprocessing(
        color="bgr", scale=1 / 255, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), layout="nchw"
    )
    (sample,) = opened(tmp_path, declared, NCHW).head(1)
    expected = (values[..., ::-1] / 255 - [0.1, 0.2, 0.3]) / [0.5, 0.6, 0.7]
    assert np.allclose(sample["image"][0], expected.transpose(2, 0, 1), atol=1e-6)


def test_the_shorter_side_keeps_the_proportions_and_the_crop_takes_the_middle(
    tmp_path: Path,
) -> None:
    ramp = np.repeat(np.arange(40, dtype=np.uint8)[None, :, None], 20, 0).repeat(3, 2)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    declared = Preprocessing(shorter_side=10, crop=(8, 6), interpolation="nearest")
    (sample,) = opened(tmp_path, declared).head(1)
    # 20 x 40 becomes 10 x 20; columns 7 to 12 of those are the middle six.
    assert sample["image"][0, 0, :, 0] == pytest.approx(2 * np.arange(7, 13) + 1, abs=1)


def test_gray_has_one_channel(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    spec = TensorSpec("image", (1, 8, 6, 1), "float32")
    assert opened(tmp_path, Preprocessing(color="gray"), spec).count == 1


def test_integer_inputs_get_rounded_values(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    spec = TensorSpec("image", (1, 8, 6, 3), "uint8")
    (sample,) = opened(tmp_path, Preprocessing(scale=2.0), spec).head(1)
    assert sample["image"].dtype == np.uint8
    assert sample["image"].max() == 255


def test_a_photograph_is_turned_upright(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    Image.fromarray(values).save(tmp_path / "a.png", exif=exif)
    (sample,) = opened(tmp_path, Preprocessing()).head(1)
    assert np.array_equal(sample["image"][0], np.rot90(values, -1))


def test_subfolders_are_classes_in_alphabetical_order(tmp_path: Path) -> None:
    for index, name in enumerate(("dog/1.png", "cat/2.png", "cat/1.png")):
        picture(tmp_path / name, seed=index)
    (tmp_path / "notes").mkdir()
    samples = opened(tmp_path, EXACT)
    assert samples.labels is not None
    assert samples.labels.tolist() == [0, 0, 1]


def test_subfolders_named_by_numbers_are_those_classes(tmp_path: Path) -> None:
    picture(tmp_path / "10" / "a.png")
    picture(tmp_path / "9" / "a.png")
    labels = opened(tmp_path, EXACT).labels
    assert labels is not None
    assert sorted(labels.tolist()) == [9, 10]


def test_another_picture_gives_another_digest(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    before = opened(tmp_path, EXACT).sha256
    picture(tmp_path / "a.png", seed=1)
    assert opened(tmp_path, EXACT).sha256 != before


def test_pictures_need_a_declared_preprocessing(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    assert "what makes inputs of them is not declared" in refused(tmp_path, None).message


def test_a_model_of_two_inputs_takes_no_pictures(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    assert "the model has 2 inputs" in refused(tmp_path, EXACT, NHWC, NCHW).message


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    assert "holds no pictures" in refused(tmp_path, EXACT).message


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    assert refused(tmp_path, EXACT).message.startswith(
        f"{tmp_path / 'a.png'} cannot be read as a picture"
    )


def test_a_damaged_chunk_is_named(tmp_path: Path) -> None:
    text = PngInfo()
    text.add_text("comment", "x" * 2**21, zip=True)
    Image.new("RGB", (6, 8)).save(tmp_path / "a.png", pnginfo=text)
    assert "cannot be read as a picture" in refused(tmp_path, EXACT).message


def test_more_than_8_bits_are_refused_and_not_cut_off(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 6), 20000, np.uint16)).save(tmp_path / "a.png")
    assert "expected 8 bits a channel" in refused(tmp_path, EXACT).message


def test_pictures_beside_class_folders_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "cat" / "a.png")
    picture(tmp_path / "b.png")
    assert "holds 1 pictures beside the classes cat" in refused(tmp_path, EXACT).message


def test_two_folders_of_one_class_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "1" / "a.png")
    picture(tmp_path / "01" / "a.png")
    assert refused(tmp_path, EXACT).message == "the folders 01 and 1 are both class 1"


def test_another_size_than_the_models_is_refused_by_name(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 9, 9)
    found = refused(tmp_path, Preprocessing())
    assert f"{tmp_path / 'a.png'}: the preprocessing makes [1, 9, 9, 3]" in found.message


def test_a_crop_larger_than_the_picture_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 4, 4)
    found = refused(tmp_path, Preprocessing(crop=(8, 6)))
    assert "found a picture of 4 x 4 (height x width) to cut 8 x 6 out of" in found.message


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("resize = [8]", "found resize = [8], expected [height, width] @ $"),
        ("mean = [1.0, 2.0]", "found 2 values in mean, expected 1 or 3 @ $"),
        ("std = [0.0]", "found 0 in std, expected what values can be divided by @ $"),
        ("shorter_side = 0", "found shorter_side = 0, expected 1 to 16384 @ $"),
        ('layout = "hwc"', "found 'hwc', expected one of nhwc, nchw @ $.layout"),
    ],
)
def test_a_preprocessing_file_is_read_strictly(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "preprocessing.toml"
    path.write_text(text)
    with pytest.raises(ProjectError) as caught:
        load_preprocessing(path)
    assert caught.value.details == (problem,)


def test_one_meaning_has_one_digest_and_the_source_is_no_part_of_it() -> None:
    short = Preprocessing(resize=(8, 6), mean=(1.0,), std=(2.0,))
    spelt_out = Preprocessing(resize=(8, 6), mean=(1.0,) * 3, std=(2.0,) * 3, source=(48, 64))
    assert short.steps().digest == spelt_out.steps().digest
    assert short.steps().digest != Preprocessing(resize=(8, 6), mean=(1.0,)).steps().digest


def test_samples_tell_what_made_them_and_give_the_pictures_again(tmp_path: Path) -> None:
    values = picture(tmp_path / "a.png")
    samples = opened(tmp_path, EXACT)
    assert samples.preprocessing == EXACT.steps().digest
    assert samples.pictures is not None
    assert [np.array_equal(found, values) for found in samples.pictures()] == [True]
