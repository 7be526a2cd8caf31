"""What losses and metrics share: windows, SSIM, gradients, crops, quantiles."""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn.functional import conv2d, pad

from cmr_course.validate import is_number, is_pair, is_whole, require, require_positive, require_whole, say

FEW_ABOVE = 20
"""Where fewer than one value in so many lies above a quantile, these few are selected: faster still."""


def quantile(values: Float[Tensor, "*shape"], q: float) -> Float[Tensor, ""]:
    """Quantile of all `values` with linear interpolation, for any number of them (`torch.quantile` stops at 2^24)."""
    real = isinstance(values, Tensor) and not values.is_complex() and values.numel() > 0
    require(real, f"values: got {say(values)}, want a real tensor that is not empty")
    require(is_number(q) and 0 <= q <= 1, f"q: got {say(q)}, want a number from 0 to 1")
    flat = values.flatten()
    position = q * (flat.numel() - 1)
    below = int(position)
    above = flat.numel() - below
    if above <= flat.numel() // FEW_ABOVE:
        largest = flat.topk(above).values
        low, high = largest[-1], largest[max(above - 2, 0)]
    else:
        low = flat.kthvalue(below + 1).values  # two selections are faster than sorting
        high = flat.kthvalue(min(below + 2, flat.numel())).values
    return low + (position - below) * (high - low)


def uniform_window(size: int = 7) -> Float[Tensor, " size"]:
    """`size` equal weights with sum one, float64: the window of scikit-image's SSIM along one axis."""
    require_whole("size", size)
    return torch.full((size,), 1 / size, dtype=torch.float64)


def gaussian_window(size: int = 11, sigma: float = 1.5) -> Float[Tensor, " size"]:
    """`size` samples of a Gaussian of width `sigma` (pixels) with sum one, float64: the window of Wang et al. 2004."""
    require_whole("size", size)
    require_positive("sigma", sigma)
    position = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    weights = torch.exp(-(position**2) / (2 * sigma**2))
    return weights / weights.sum()


def filter2d(
    image: Float[Tensor, "*shape y x"], along_y: Float[Tensor, " size"], along_x: Float[Tensor, " size_x"]
) -> Float[Tensor, "*shape y_valid x_valid"]:
    """Correlate with `along_y` along y and `along_x` along x, kept where both fit wholly inside the image."""
    _require_image("image", image)
    fits = along_y.numel() <= image.shape[-2] and along_x.numel() <= image.shape[-1]
    require(fits, f"image: got {tuple(image.shape[-2:])} pixels, want at least {(along_y.numel(), along_x.numel())}")
    batch = image.reshape(-1, 1, *image.shape[-2:])
    batch = conv2d(batch, along_y.to(image).view(1, 1, -1, 1))
    batch = conv2d(batch, along_x.to(image).view(1, 1, 1, -1))
    return batch.reshape(*image.shape[:-2], *batch.shape[-2:])


def ssim_map(
    prediction: Float[Tensor, "*shape y x"],
    reference: Float[Tensor, "*shape y x"],
    data_range: float | Float[Tensor, "*range"],
    window: Float[Tensor, " size"],
    *,
    k1: float = 0.01,
    k2: float = 0.03,
    sample_covariance: bool = True,
) -> Float[Tensor, "*shape y_valid x_valid"]:
    """Structural similarity around each pixel (Wang et al. 2004, doi:10.1109/TIP.2003.819861, eq. 13).

    Differentiable in both images.

    data_range: L in C1 = (k1·L)², C2 = (k2·L)²; one number, or a tensor that broadcasts to the leading axes.
    window: weights along one axis, used along both; only pixels around which it fits are returned, so that each axis
        is shorter by size − 1.
    sample_covariance: multiply (co)variances by N/(N − 1), N = size²: with :func:`uniform_window` scikit-image's and
        fastMRI's value. Without it and with :func:`gaussian_window`, that of Wang et al. and pytorch_msssim.
    """
    _require_image("prediction", prediction)
    _require_image("reference", reference)
    if not isinstance(data_range, Tensor):
        require_positive("data_range", data_range)
    same = prediction.shape == reference.shape
    require(same, f"prediction: got shape {tuple(prediction.shape)}, want that of reference, {tuple(reference.shape)}")
    require(isinstance(window, Tensor) and window.ndim == 1, f"window: got {say(window)}, want weights (size,)")
    size = window.numel()
    require(size > 1 or not sample_covariance, f"window: got {size} weights, want two or more for a covariance")
    smallest = min(reference.shape[-2:])
    require(smallest >= size, f"reference: got {smallest} pixels along an axis, want at least the window's {size}")
    level = torch.as_tensor(data_range, dtype=reference.dtype, device=reference.device)[..., None, None]
    c1, c2 = (k1 * level) ** 2, (k2 * level) ** 2

    def mean(values: Tensor) -> Tensor:
        return filter2d(values, window, window)

    mean_p, mean_r = mean(prediction), mean(reference)
    factor = size**2 / (size**2 - 1) if sample_covariance else 1.0
    variance_p = factor * (mean(prediction**2) - mean_p**2)
    variance_r = factor * (mean(reference**2) - mean_r**2)
    covariance = factor * (mean(prediction * reference) - mean_p * mean_r)
    luminance = (2 * mean_p * mean_r + c1) / (mean_p**2 + mean_r**2 + c1)
    structure = (2 * covariance + c2) / (variance_p + variance_r + c2)
    return luminance * structure


def sobel(image: Float[Tensor, "*shape y x"]) -> tuple[Float[Tensor, "*shape y x"], Float[Tensor, "*shape y x"]]:
    """(G_y, G_x): 3 × 3 Sobel derivatives along y and x, in image units per pixel, of the size of the image.

    The kernel is (−1, 0, 1)/2 along one axis and (1, 2, 1)/4 along the other, so that a ramp of slope one gives one
    (the classic integers are eight times that). Beyond its border the image is taken to repeat its last pixel.
    """
    _require_image("image", image)
    difference = torch.tensor([-0.5, 0.0, 0.5], dtype=image.dtype, device=image.device)
    smoothing = torch.tensor([0.25, 0.5, 0.25], dtype=image.dtype, device=image.device)
    batch = pad(image.reshape(-1, 1, *image.shape[-2:]), (1, 1, 1, 1), mode="replicate")
    along_y = filter2d(batch, difference, smoothing).reshape(image.shape)
    along_x = filter2d(batch, smoothing, difference).reshape(image.shape)
    return along_y, along_x


def scharr(image: Float[Tensor, "*shape y x"]) -> tuple[Float[Tensor, "*shape y x"], Float[Tensor, "*shape y x"]]:
    """(G_y, G_x): 3 × 3 Scharr derivatives along y and x, in image units per pixel, of the size of the image.

    The kernel is (−1, 0, 1)/2 along one axis and (3, 10, 3)/16 along the other, so that a ramp of slope one gives one
    (the classic integers are 32 times that); it turns with the edge better than Sobel's. Unlike there, the image is
    taken to be zero beyond its border, as in the published losses that use it: what does not vanish at the border has
    an edge there.
    """
    _require_image("image", image)
    difference = torch.tensor([-0.5, 0.0, 0.5], dtype=image.dtype, device=image.device)
    smoothing = torch.tensor([3.0, 10.0, 3.0], dtype=image.dtype, device=image.device) / 16
    along_y = torch.outer(difference, smoothing)
    kernels = torch.stack([along_y, along_y.T])[:, None]
    both = conv2d(image.reshape(-1, 1, *image.shape[-2:]), kernels, padding=1)
    return both[:, 0].reshape(image.shape), both[:, 1].reshape(image.shape)


def center_crop(tensor: Shaped[Tensor, "*shape y x"], size: tuple[int, int]) -> Shaped[Tensor, "*shape new_y new_x"]:
    """The central `size` = (y, x) of the last two axes; index n//2 stays the centre, as in the Fourier room."""
    shape = _image_size(tensor, size)
    fits = all(0 < new <= old for new, old in zip(size, shape, strict=True))
    require(fits, f"size: got {tuple(size)}, want 1 to {shape} along (y, x)")
    first_y, first_x = (old // 2 - new // 2 for new, old in zip(size, shape, strict=True))
    return tensor[..., first_y : first_y + size[0], first_x : first_x + size[1]]


def center_pad(tensor: Shaped[Tensor, "*shape y x"], size: tuple[int, int]) -> Shaped[Tensor, "*shape new_y new_x"]:
    """Surround by zeros (false) up to `size` = (y, x) of the last two axes: the adjoint of :func:`center_crop`."""
    shape = _image_size(tensor, size)
    fits = all(new >= old for new, old in zip(size, shape, strict=True))
    require(fits, f"size: got {tuple(size)}, want at least {shape} along (y, x)")
    (before_y, after_y), (before_x, after_x) = (
        (new // 2 - old // 2, (new - new // 2) - (old - old // 2)) for new, old in zip(size, shape, strict=True)
    )
    return pad(tensor, (before_x, after_x, before_y, after_y))


def _require_image(name: str, image: Tensor) -> None:
    """`image` must be real, with (y, x) as its last axes."""
    real = isinstance(image, Tensor) and image.is_floating_point() and image.ndim >= 2
    require(real, f"{name}: got {say(image)}, want a real tensor with axes (…, y, x)")


def _image_size(tensor: Tensor, size: tuple[int, int]) -> tuple[int, int]:
    """(y, x) of `tensor`, after a look at what :func:`center_crop` and :func:`center_pad` were given."""
    image = isinstance(tensor, Tensor) and tensor.ndim >= 2
    require(image, f"tensor: got {say(tensor)}, want a tensor with axes (…, y, x)")
    require(is_pair(size) and all(map(is_whole, size)), f"size: got {say(size)}, want two whole numbers (y, x)")
    return tensor.shape[-2], tensor.shape[-1]
