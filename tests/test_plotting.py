"""Pictures: what is compared shares one range, what is said is what is drawn, and they fit into a notebook."""

from __future__ import annotations

import base64
import io
import itertools
import math
from collections.abc import Iterator

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex, to_rgb
from PIL import Image

from cmr_course import plotting
from cmr_course.acquisition import Acquisition, Reconstruction, Truth
from cmr_course.benchmark import EVERY
from cmr_course.fourier import fft2c
from cmr_course.metrics import psnr
from cmr_course.plotting.style import ERROR_MAP, PHASE_MAP
from cmr_course.sampling import Mask

mpl.use("Agg")

FRAMES, NY, NX = 12, 128, 128


@pytest.fixture(autouse=True)
def _style() -> Iterator[None]:
    with mpl.rc_context():
        plotting.setup()
        yield
    plt.close("all")


def heart(seed: int = 0, noise: float = 0.02, size: int = NY) -> torch.Tensor:
    """A bright ring that contracts, in noise: complex (1, frame, size, size)."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, size)] * 2, indexing="ij")
    radius = (y**2 + 1.2 * x**2).sqrt()
    beat = 0.35 + 0.08 * torch.cos(torch.arange(FRAMES) * 2 * math.pi / FRAMES)[:, None, None]
    ring = torch.exp(-(((radius - beat) / 0.08) ** 2)) + 0.3 * (radius < 0.9)
    image = ring * torch.exp(1j * (x + 0.5 * y)) + noise * torch.randn(
        (FRAMES, size, size), dtype=torch.complex64, generator=generator
    )
    return image[None]


def cartesian(step: int, per_frame: bool = False) -> Mask:
    sampled = torch.zeros(1, FRAMES if per_frame else 1, 1, NY, 1, dtype=torch.bool)
    for t in range(sampled.shape[1]):
        sampled[:, t, :, t % step :: step] = True
    sampled[..., 60:68, :] = True
    return Mask(sampled, (8, NX), "uniform", step)


def images_of(figure) -> list[np.ndarray]:
    return [np.ma.getdata(picture.get_array()) for axes in figure.axes for picture in axes.images]


def ranges_of(figure, cmap="gray") -> set[tuple[float, float]]:
    pictures = [picture for axes in figure.axes for picture in axes.images]
    return {tuple(picture.get_clim()) for picture in pictures if picture.cmap.name == cmap}


def texts_of(figure) -> str:
    figure.canvas.draw()
    return "\n".join(text.get_text() for text in figure.findobj(mpl.text.Text))


# Ranges and contents.


def test_images_share_one_range_and_say_it():
    dim, bright = heart()[0, 0].abs(), 3 * heart(1)[0, 0]
    figure = plotting.show_images({"dim": dim, "bright": bright})
    [(low, high)] = ranges_of(figure)
    assert low == 0
    assert high == pytest.approx(float(torch.quantile(torch.stack([dim, bright.abs()]), 0.998)), rel=1e-3)
    assert f"all shown on 0 … {high:.3g}" in texts_of(figure)
    np.testing.assert_allclose(images_of(figure)[1], bright.abs())


def test_images_with_their_own_ranges_say_each():
    figure = plotting.show_images({"dim": torch.full((4, 5), 0.5), "bright": torch.full((4, 5), 2.0)}, shared=False)
    assert ranges_of(figure) == {(0.0, 0.5), (0.0, 2.0)}
    assert "shown: 0 … 0.5" in texts_of(figure)
    assert "shown: 0 … 2" in texts_of(figure)


def test_signed_values_are_shown_symmetrically_about_zero():
    [(low, high)] = ranges_of(plotting.show_images({"real": torch.tensor([[-1.0, 0.2], [0.1, 0.4]])}, vmax=2))
    assert (low, high) == (-2, 2)


def test_captions_lines_and_colour_bar_are_drawn():
    figure = plotting.show_images(
        {"a": heart()[0, 0], "b": heart()[0, 1]}, captions={"b": "the second"}, lines={"a": 40}, colorbar=True
    )
    assert figure.axes[0].lines[0].get_xdata()[0] == 40
    assert not figure.axes[1].lines
    assert "the second" in texts_of(figure)
    assert len(figure.axes) == 3


def test_records_and_tensors_give_the_same_picture():
    batch = torch.cat([heart(0), heart(1)])
    for value in (Truth(batch), Reconstruction(batch), batch, batch.abs()):
        [shown] = images_of(plotting.show_images({"x": value}, frame=3, item=1))
        np.testing.assert_array_equal(shown, batch[1, 3].abs().numpy())


def test_frames_are_spread_over_the_beat_or_chosen():
    figure = plotting.show_frames(heart(), frames=[0, 2, 6], times=[70.0 * t for t in range(FRAMES)])
    assert [axes.get_title() for axes in figure.axes] == ["0 ms", "140 ms", "420 ms"]
    figure = plotting.show_frames(Truth(heart()), frames=4, title="one beat")
    for shown, t in zip(images_of(figure), (0, 3, 6, 9), strict=True):
        np.testing.assert_array_equal(shown, heart()[0, t].abs().numpy())
    assert len(images_of(plotting.show_frames(heart()[0, :3]))) == 3


@pytest.mark.parametrize("shape", [(8, 6), (7, 9)])
def test_kspace_is_centred_at_zero_on_one_range(shape):
    kspace = fft2c(torch.ones(shape, dtype=torch.complex64))
    figure = plotting.show_kspace({"bright": kspace, "dim": kspace / 100, "empty": 0 * kspace}, decades=3)
    panel = figure.axes[0]
    left, right, bottom, top = panel.images[0].get_extent()
    column = np.linspace(left, right, shape[1], endpoint=False)[shape[1] // 2] + 0.5
    row = np.linspace(top, bottom, shape[0], endpoint=False)[shape[0] // 2] + 0.5
    assert (row, column) == pytest.approx((0, 0))
    centre = shape[0] // 2, shape[1] // 2
    bright, dim, empty = images_of(figure)[:3]
    assert (bright[centre], dim[centre]) == pytest.approx((0, -2))
    assert (empty == -3).all()
    assert ranges_of(figure) == {(-3, 0)}
    assert "3 decades" in texts_of(figure)


def test_kspace_of_an_acquisition_is_the_asked_plane():
    kspace = torch.randn(2, 3, 4, 6, 5, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    figure = plotting.show_kspace({"k": Acquisition.fully_sampled(kspace)}, frame=2, coil=3, item=1, decades=9)
    magnitude = kspace[1, 2, 3].abs()
    np.testing.assert_allclose(images_of(figure)[0], torch.log10(magnitude / magnitude.max()), atol=1e-6)


def test_phase_is_cyclic_and_grey_where_there_is_no_signal():
    image = torch.polar(torch.tensor([[1.0, 1.0], [1.0, 0.001]]), torch.tensor([[0.0, 3.0], [-3.0, 1.0]]))
    figure = plotting.show_phase({"phase": image}, threshold=0.05)
    assert ranges_of(figure, PHASE_MAP) == {(-math.pi, math.pi)}
    drawn = figure.axes[0].images[0]
    assert np.ma.getmaskarray(drawn.get_array()).tolist() == [[False, False], [False, True]]
    assert "below 5 %" in texts_of(figure)
    cyclic = plt.get_cmap(PHASE_MAP)
    np.testing.assert_allclose(cyclic(0.0), cyclic(1.0), atol=0.01)


def test_masks_show_lines_over_time_and_both_accelerations():
    masks = {"uniform": cartesian(4), "k-t uniform": cartesian(4, per_frame=True)}
    plane = torch.rand(1, 3, 1, 16, 16, generator=torch.Generator().manual_seed(0)) < 0.3
    masks["radial"] = Mask(plane, (0, 0), "kt_radial")
    figure = plotting.show_masks(masks)
    uniform, moving, first, second = images_of(figure)
    assert uniform.shape == (NY, FRAMES)
    assert (uniform == uniform[:, :1]).all()
    np.testing.assert_array_equal(moving, masks["k-t uniform"].sampled[0, :, 0, :, 0].T)
    np.testing.assert_array_equal(first, plane[0, 0, 0])
    np.testing.assert_array_equal(second, plane[0, 1, 0])
    assert f"nominal R = 4\nrealised {masks['uniform'].realised_acceleration:.2f}" in texts_of(figure)
    assert "nominal R = ?" in texts_of(figure)


def test_profiles_run_down_y_and_along_t():
    series = heart()
    figure = plotting.show_xt({"a": series, "b": series * 0.5}, column=70, reference=series, frame=2)
    assert figure.axes[0].lines[0].get_xdata()[0] == 70
    np.testing.assert_array_equal(images_of(figure)[1], series[0, :, :, 70].abs().T)
    assert len(ranges_of(figure)) == 1


def test_coils_show_magnitude_above_phase():
    maps = torch.randn(3, 6, 5, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    figure = plotting.show_coils(maps, coils=2)
    pictures = images_of(figure)
    np.testing.assert_allclose(pictures[1], maps[1].abs())
    np.testing.assert_allclose(pictures[3], maps[1].angle())
    assert "2 of 3 coils" in texts_of(figure)
    np.testing.assert_allclose(images_of(plotting.show_coils(maps[None, None]))[2], maps[2].abs())


def test_errors_are_amplified_by_the_gain_that_is_said():
    reference = heart()
    figure = plotting.show_errors(reference, {"half": reference / 2}, gain=10, frame=4)
    np.testing.assert_allclose(images_of(figure)[0], 5 * reference[0, 4].abs(), rtol=1e-5)
    assert "half\n|error| × 10" in texts_of(figure)
    [(low, high)] = ranges_of(figure, ERROR_MAP)
    assert (low, high) == pytest.approx((0, float(torch.quantile(reference[0, 4].abs(), 0.998))), rel=1e-3)


# The comparison panel.


def test_comparison_has_every_row_on_one_range_and_scores_of_the_whole_series():
    reference, methods = Truth(heart()), {"zero-filled": Reconstruction(heart(1, 0.2)), "cg-sense": heart(2, 0.1)}
    figure = plotting.show_comparison(reference, methods, frame=4, box=(30, 90, 40, 100), column=64, gain=5)
    assert len(images_of(figure)) == 3 + 3 + 2 + 3  # image, zoom, error of the methods, profile
    assert len(ranges_of(figure)) == 1
    assert ranges_of(figure) == {next(iter(ranges_of(figure, ERROR_MAP)))}
    text = texts_of(figure)
    for method in methods.values():
        magnitude = method.magnitude() if isinstance(method, Reconstruction) else method.abs()
        assert f"PSNR {float(psnr(magnitude, reference.magnitude()).mean()):.1f} dB" in text
    assert "|error| × 5" in text
    assert figure.axes[0].lines[0].get_xdata()[0] == 64
    assert figure.axes[0].patches[0].get_bbox().bounds == pytest.approx((39.5, 29.5, 60, 60))


def test_comparison_is_shown_on_the_range_of_the_heart():
    """Bright fat outside the box neither darkens the heart nor the errors in it."""
    reference = heart()
    reference[..., :10, :] = 50
    inside = plotting.show_comparison(reference, {"cg-sense": heart(1)}, box=(30, 90, 40, 100), scores={})
    [(_, high)] = ranges_of(inside)
    assert high == pytest.approx(float(torch.quantile(heart()[0, :, 30:90, 40:100].abs(), 0.998)), rel=1e-3)
    assert f"0 … {high:.3g}" in texts_of(inside)
    [(_, given)] = ranges_of(plotting.show_comparison(reference, {"cg-sense": heart(1)}, vmax=7, scores={}))
    assert given == 7


def test_comparison_leaves_out_what_is_not_asked_for_and_takes_given_scores():
    figure = plotting.show_comparison(heart(), {"cg-sense": heart(1)}, scores={"cg-sense": "0.123 ± 0.004"})
    text = texts_of(figure)
    assert "0.123 ± 0.004" in text
    assert "PSNR" not in text
    assert "t →" not in text
    assert "zoom" not in text


def test_heart_box_holds_the_heart_and_nothing_is_cut():
    labels = torch.zeros(1, 2, 20, 30, dtype=torch.long)
    labels[0, 0, 8:12, 10:14] = 3
    labels[0, 1, 9:14, 12:16] = 4
    labels[:, :, :5] = 1
    names = {"chest": 1, "lv_blood": 3, "rv_myocardium": 4}
    truth = Truth(torch.ones(1, 2, 20, 30, dtype=torch.complex64), labels=labels, label_names=names)
    assert plotting.heart_box(truth, margin=0) == (8, 14, 10, 16)
    assert plotting.heart_box(truth, margin=0.5) == (5, 17, 7, 19)
    assert plotting.heart_box(truth, margin=9) == (0, 20, 0, 30)
    assert plotting.heart_box(labels, label_names=names, names=("chest",), margin=0) == (0, 5, 0, 30)


# The beating heart.


def decoded(png: bytes) -> list[np.ndarray]:
    picture = Image.open(io.BytesIO(png))
    frames = []
    for t in range(picture.n_frames):
        picture.seek(t)
        frames.append(np.asarray(picture.convert("L")).copy())
    return frames


def test_a_beating_heart_shows_the_series_and_loops_for_ever():
    series = heart(size=32)
    beat = plotting.beating(Truth(series), duration_ms=960, height_px=64, greys=32, vmax=1.0)
    frames = decoded(beat.png)
    assert beat.n_frames == len(frames) == FRAMES
    for frame, image in zip(frames, series[0].abs().clamp(0, 1), strict=True):
        assert frame.shape == (64, 64)
        assert np.abs(frame[::2, ::2] / 255 - image.numpy()).max() <= 0.5 / 31 + 0.003
        np.testing.assert_array_equal(frame[::2, ::2], frame[1::2, 1::2])
    picture = Image.open(io.BytesIO(beat.png))
    assert picture.info["loop"] == 0
    assert picture.info["duration"] * FRAMES == pytest.approx(960)


@pytest.mark.parametrize(("noise", "scale"), [((0.02, 0.02), 2), ((0.05, 0.2), 1)])
def test_two_hearts_fit_into_a_page_and_shrink_where_noise_needs_it(noise, scale):
    pair = {"reference": heart(0, noise[0]), "zero-filled, R = 4": Reconstruction(heart(1, noise[1]))}
    beat = plotting.beating(pair)
    bundle = beat._repr_mimebundle_()
    assert set(bundle) == {"image/png", "text/plain"}
    assert bundle["text/plain"] == "BeatingHeart(reference, zero-filled, R = 4: 12 frames, 1000 ms a beat)"
    assert len(bundle["image/png"]) <= 200_000
    assert beat.greys >= 16
    first = decoded(base64.b64decode(bundle["image/png"]))[0]
    assert first.shape[0] > scale * NY
    assert first.shape[1] // (2 * NX) == scale
    assert (first[scale * NY + 4 :] < 128).any()  # the names stand under the hearts


def test_an_animation_has_the_same_bytes_twice_and_is_saved_whole(tmp_path):
    first, second = plotting.beating(heart(size=32)), plotting.beating(heart(size=32))
    assert first.png == second.png
    path = first.save(tmp_path / "heart.png")
    assert path.read_bytes() == first.png
    assert [entry.name for entry in tmp_path.iterdir()] == ["heart.png"]


def test_the_strip_beside_an_animation_has_a_row_for_each_series():
    beat = plotting.beating({"a": heart(size=32), "b": heart(1, size=32)})
    assert len(images_of(beat.strip(4))) == 8
    assert len(ranges_of(beat.strip())) == 1


# Style.


@pytest.mark.parametrize("seed", [0, 5])
def test_setup_gives_a_seeded_generator_and_leaves_the_global_one_alone(seed):
    before = torch.random.get_rng_state()
    draws = [torch.randn(3, generator=plotting.setup(seed)) for _ in range(2)]
    assert torch.equal(*draws)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == 1


def test_letters_are_readable_at_the_width_of_the_book():
    shrunk = 700 / (plotting.style.WIDTH * 96)  # of a full-width figure, CSS pixels
    for name in (
        "font.size",
        "axes.titlesize",
        "axes.labelsize",
        "xtick.labelsize",
        "ytick.labelsize",
        "figure.labelsize",
    ):
        assert float(mpl.rcParams[name]) * shrunk >= 9
    assert to_hex(mpl.rcParams["figure.facecolor"]) == "#ffffff"
    assert not mpl.rcParams["savefig.transparent"]


def test_a_full_page_of_noise_is_stored_small():
    methods = {name: heart(seed, 0.15) for seed, name in enumerate(["zero-filled", "cg-sense", "l+s", "promptmr"], 1)}
    stored = plotting.compact_png(plotting.show_comparison(heart(), methods, box=(30, 90, 30, 90), column=64))
    assert len(base64.b64encode(stored)) <= 120_000
    assert Image.open(io.BytesIO(stored)).width >= 500


def test_the_same_figure_gives_the_same_bytes():
    first, second = (plotting.compact_png(plotting.show_errors(heart(), {"noisy": heart(1)})) for _ in range(2))
    assert first == second


def test_a_small_palette_keeps_greys_grey():
    figure = plotting.show_errors(heart(), {"noisy": heart(1, 0.3)})
    figure.axes[0].set_title("text")
    picture = Image.open(io.BytesIO(plotting.compact_png(figure, limit=1)))  # the smallest there is
    colours = [colour for _, colour in picture.convert("RGB").getcolors(256)]
    assert len(colours) <= 32
    assert (255, 255, 255) in colours
    greys = [r for r, g, b in colours if r == g == b]
    assert all(grey % 17 == 0 for grey in greys)  # sixteen shades, evenly spaced
    assert 4 <= len(greys) <= 16


def test_a_notebook_stores_small_pictures():
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    cells = [
        "import torch, matplotlib.pyplot as plt\nfrom cmr_course import plotting\ngenerator = plotting.setup()",
        "noise = torch.randn(3, 64, 64, generator=generator)\n"
        "figure = plotting.show_frames(noise, frames=3)\nplt.show()",
        "plotting.beating(noise, height_px=64)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells for output in cell.outputs]
    assert [output.output_type for output in outputs] == ["display_data", "execute_result"]
    figure, animation = (Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))) for output in outputs)
    assert figure.mode == "P"
    assert animation.n_frames == 3


# The matrices of Machado et al. 2009, doi:10.1109/TVCG.2009.113, for full severity, applied to linear RGB.
DICHROMACY = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    "none": np.eye(3).tolist(),
}


@pytest.mark.parametrize("vision", list(DICHROMACY))
def test_methods_can_be_told_apart(vision):
    """By colour (ΔE of CIE 1976 above 10, several times a just noticeable difference), else by marker and line."""
    color = pytest.importorskip("skimage.color")

    def seen(name: str) -> np.ndarray:
        rgb = np.array(to_rgb(plotting.METHOD_STYLE[name].colour))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        linear = np.clip(np.array(DICHROMACY[vision]) @ linear, 0, 1)
        return color.rgb2lab(np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))

    for one, other in itertools.combinations(plotting.METHOD_STYLE, 2):
        a, b = plotting.METHOD_STYLE[one], plotting.METHOD_STYLE[other]
        if a.colour == b.colour:
            assert a.marker != b.marker, (one, other)
            assert a.line != b.line, (one, other)
        else:
            assert np.linalg.norm(seen(one) - seen(other)) > 10, (one, other)


def test_methods_have_one_order_and_can_be_plotted():
    orders = [style.order for style in plotting.METHOD_STYLE.values()]
    assert orders == list(range(len(orders)))
    _, axes = plt.subplots()
    for style in plotting.METHOD_STYLE.values():
        [line] = axes.plot([0, 1], **style.line_options())
        assert line.get_color() == style.colour


def test_every_method_of_the_benchmark_has_a_look_of_its_own():
    assert {*EVERY} <= plotting.METHOD_STYLE.keys()


# Bad input.


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: plotting.show_images({}), "images: got an empty mapping"),
        (lambda: plotting.show_images([torch.ones(2, 2)]), "images: got list, want a mapping"),
        (lambda: plotting.show_images({"a": torch.ones(3)}), r"a: got shape \(3,\), want \(y, x\)"),
        (lambda: plotting.show_images({"a": "picture"}), "a: got str, want a tensor"),
        (lambda: plotting.show_images({"a": torch.full((2, 2), torch.nan)}), "a: got NaN or infinity everywhere"),
        (lambda: plotting.show_images({"a": torch.ones(2, 2)}, vmax=0), "vmax: got 0"),
        (lambda: plotting.show_images({"a": torch.ones(2, 2)}, columns=0), "columns: got 0"),
        (lambda: plotting.show_images({"a": torch.ones(3, 2, 2)}, frame=3), r"frame: got 3, want a frame of a \(0…2\)"),
        (lambda: plotting.show_images({"a": torch.ones(1, 3, 2, 2)}, item=1), "item: got 1"),
        (lambda: plotting.show_frames(torch.ones(3, 2, 2), frames=[5]), r"frames: got \[5\], want indices from 0 to 2"),
        (lambda: plotting.show_frames(torch.ones(3, 2, 2), frames=0), "frames: got 0"),
        (lambda: plotting.show_frames(torch.ones(3, 2, 2), times=[1.0]), "times: got 1, want one for each of 3"),
        (lambda: plotting.show_kspace({"k": torch.ones(3, 2, 2)}), r"kspaces: got shape \(3, 2, 2\) for 'k'"),
        (lambda: plotting.show_kspace({"k": torch.ones(2, 2)}, decades=0), "decades: got 0"),
        (lambda: plotting.show_phase({"p": torch.ones(2, 2)}), "images: got real values for 'p'"),
        (lambda: plotting.show_masks({"m": torch.ones(2, 2)}), "masks: got Tensor for 'm', want a Mask"),
        (lambda: plotting.show_coils(torch.ones(3, 2, 2)), "maps: got real values"),
        (lambda: plotting.show_xt({"a": torch.ones(3, 4, 5)}, column=5), "column: got 5, want .* 0 to 4"),
        (
            lambda: plotting.show_errors(torch.ones(2, 2), {"a": torch.ones(2, 3)}),
            r"images: got shape \(2, 3\) for 'a', want \(2, 2\)",
        ),
        (lambda: plotting.show_comparison(torch.ones(3, 9, 9), {}), "reconstructions: got an empty mapping"),
        (
            lambda: plotting.show_comparison(torch.ones(3, 9, 9), {"a": torch.ones(3, 9, 9)}, box=(0, 10, 0, 5)),
            r"box: got \(0, 10, 0, 5\), want .* inside the image of 9 x 9",
        ),
        (lambda: plotting.beating({}), "series: got an empty mapping"),
        (lambda: plotting.beating(torch.ones(3, 4, 4), greys=1), "greys: got 1, want 2 to 256"),
        (lambda: plotting.beating(torch.ones(3, 4, 4), duration_ms=0), "duration_ms: got 0"),
        (
            lambda: plotting.beating({"a": torch.ones(3, 4, 4), "b": torch.ones(2, 4, 4)}),
            r"series: got shape \(2, 4, 4\) for 'b', want \(3, 4, 4\)",
        ),
        (lambda: plotting.heart_box(torch.zeros(1, 2, 2)), "truth: got no labels or no label_names"),
        (
            lambda: plotting.heart_box(torch.zeros(1, 2, 2), label_names={"lv_blood": 1}),
            "truth: got no pixel labelled",
        ),
        (lambda: plotting.heart_box(torch.zeros(1, 2, 2), label_names={"fat": 1}), "names: .* want words found in fat"),
    ],
)
def test_bad_input_is_said_in_one_line(call, says):
    with pytest.raises(ValueError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_beating_heart_can_be_cut_out():
    series = heart(size=32)
    cut_out = plotting.beating({"a": series}, box=(4, 20, 6, 30), vmax=1.0)
    assert cut_out.png == plotting.beating({"a": series[:, :, 4:20, 6:30]}, vmax=1.0).png
    assert cut_out.series["a"].shape[1:] == (16, 24)
    with pytest.raises(ValueError, match="box: got"):
        plotting.beating({"a": series}, box=(4, 40, 6, 30))


@pytest.mark.bad_input
def test_an_animation_that_cannot_be_saved_leaves_nothing_behind(tmp_path):
    folder = tmp_path / "heart.png"
    folder.mkdir()
    with pytest.raises(OSError, match=r"heart\.png"):
        plotting.beating(heart(size=16), vmax=1.0).save(folder)
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.bad_input
def test_truth_values_are_shown_as_zeros_and_ones():
    inside = torch.eye(6, dtype=torch.bool)
    np.testing.assert_array_equal(images_of(plotting.show_images({"a": inside}))[0], inside.float())
