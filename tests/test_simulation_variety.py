"""Two hundred subjects of all conditions: every body plausible, read off the labels of thin slices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from cmr_course.plane import Plane
from cmr_course.simulation import CONDITIONS, Anatomy, Scan, Subject
from cmr_course.simulation.brightness import brightness
from cmr_course.simulation.canvas import LABELS, Canvas
from cmr_course.simulation.motion import Beat
from cmr_course.simulation.render import Grid, Still, render
from cmr_course.simulation.sequences import BalancedSSFP
from cmr_course.simulation.shapes import Field
from cmr_course.simulation.texture import Texture
from cmr_course.simulation.tissue import Composition
from cmr_course.simulation.views import planes

CPU = torch.device("cpu")
SCAN = Scan(matrix=(150, 150), field_of_view=(240.0, 240.0), frames=1, thickness=0.0)
PIXEL = 1.6
DEPTHS = (22.0, 0.0, -20.0)
"""Short-axis slices, mm from the middle of the ventricle."""
AXIAL = (0.0, 60.0)
"""Heights of two axial slices, mm."""
BATCHES = 20
CAVITY = ("lv_blood", "papillary")
LEFT = (*CAVITY, "lv_myocardium")
VENTRICLES = (*LEFT, "rv_blood", "rv_myocardium")
BODY_WALL = ("background", "fat", "muscle", "bone", "spinal_canal")
ORGANS = ("liver", "stomach", "spleen", "spinal_canal", "oesophagus")
VESSELS = ("aorta", "pulmonary_artery", "pulmonary_vein", "la_blood", "ra_blood")
"""That may not run through an organ. The lower vena cava does run through the liver, so its wall is not here either."""


def chosen(labels, *names):
    return np.isin(labels, [LABELS[name] for name in names])


def thinnest(inside, around):
    """Least distance in mm from `inside` to what is not `around`."""
    if not inside.any():
        return float("inf")
    return float(ndimage.distance_transform_edt(around, sampling=PIXEL)[inside].min())


def subjects(batch):
    names = list(CONDITIONS)
    return [Subject(seed, condition=names[seed % 4]) for seed in range(10 * batch, 10 * batch + 10)]


def painted(subject, anatomy, plane, systole=False):
    """Labels (y, x) of a plane, and of the chest alone in it."""
    beat = Beat.of(subject.physiology())
    moments = beat.moments([(beat.closing + beat.filling) / 2 if systole else 0.0], CPU)
    bright = brightness(BalancedSSFP(), Composition.usual(3.0), (0.0,))
    labels = render(subject, anatomy, plane, SCAN, moments, bright).labels[0].numpy()
    chest = Still.of(Grid.of(plane, SCAN, CPU), anatomy, SCAN, Texture.of(subject, CPU), bright).canvas.labels
    return labels, chest[::2, ::2].numpy()


def slices(subject, anatomy):
    """Labels, chest labels and depth (None for axial slices) of everything that is looked at."""
    for offset in DEPTHS:
        (plane,) = planes(subject, replace(SCAN, offset=offset), anatomy.heart, anatomy.vessels)
        yield *painted(subject, anatomy, plane, systole=offset == 0), offset
    for height in AXIAL:
        plane = Plane((5.0, 5.0, height), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), 0.0)
        yield *painted(subject, anatomy, plane), None


@pytest.mark.parametrize("batch", range(BATCHES))
def test_bodies_are_plausible(batch):
    for subject in subjects(batch):
        covered, drawn = dict.fromkeys(ORGANS, 0), dict.fromkeys(ORGANS, 0)
        for labels, chest, offset in slices(subject, Anatomy.of(subject)):
            where = (subject.seed, subject.condition, offset)
            over = chosen(labels, *VENTRICLES, *VESSELS)
            for organ in ORGANS:
                covered[organ] += int((chosen(chest, organ) & over).sum())
                drawn[organ] += int(chosen(chest, organ).sum())
            ventricles = chosen(labels, *VENTRICLES)
            beside = ndimage.binary_dilation(ventricles, iterations=2) & chosen(labels, *BODY_WALL)
            assert not beside.any(), (where, "a ventricle within 3 mm of the wall of the chest")
            if offset is None:
                continue
            cavity, right = chosen(labels, *CAVITY), chosen(labels, "rv_blood")
            assert thinnest(cavity, chosen(labels, *LEFT)) >= 3, where
            # Nearer to the base it is open at end systole: where the base comes down by more than 16 mm, a slice 20 mm
            # below it passes through that opening.
            assert thinnest(right, ventricles) >= 3, where
            whole = [cavity, chosen(labels, *LEFT)]
            if offset >= 0:  # further down lies the right ventricle's apex, and only slivers of it are cut
                whole.append(right)
            for mask in whole:
                pieces = ndimage.label(mask)[0]
                sizes = np.bincount(pieces.ravel())[1:]
                assert len(sizes) == 0 or sizes.max() > 0.97 * sizes.sum(), (where, sizes)
            assert cavity.sum() * PIXEL**2 > 60, where
        for organ in ORGANS:
            assert covered[organ] <= 0.001 * drawn[organ], (subject.seed, organ, covered[organ], drawn[organ])


def everywhere(place, reach):
    """Nothing is skipped."""
    return True


@pytest.mark.parametrize("seed", [8, 21, 41, 78, 141, 170])
def test_vessels_keep_clear_of_muscle_and_organs(seed):
    """Seeds in which, before both gave way, a vein ran under the left ventricle or the aorta through the stomach."""
    subject = Subject(seed, condition=list(CONDITIONS)[seed % 4])
    anatomy = Anatomy.of(subject)
    axes = [torch.arange(low, high, 3.0) for low, high in ((-120, 60), (-60, 110), (-80, 110))]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    points = torch.stack([x, y, z])
    field = Field(points, anatomy.vessels.solids(), everywhere, 10.0)
    inside = {name: distance > 0 for name, distance in anatomy.vessels.distances(field).items()}
    heart, local = anatomy.heart, anatomy.pose.local(points)
    found = heart.material(local, torch.zeros((1, 1, 1)), torch.ones((1, 1)))
    left = field.cut((found.r.square() < found.at.epi) & (local[2] > 0) & (local[2] < heart.end))
    assert inside["pulmonary_vein"].any()
    assert not (inside["pulmonary_vein"] & left).any()
    levels = brightness(BalancedSSFP(), Composition.usual(3.0), (0.0,)).levels(points)
    canvas = Canvas.blank(tuple(points.shape[1:]), levels, 0.6)
    anatomy.chest.paint(canvas, anatomy.chest.locate(points), Texture.of(subject, CPU))
    for organ in ("liver", "liver_vessel", "stomach", "spleen"):
        drawn = canvas.labels == LABELS[organ]
        assert drawn.any()
        assert not (inside["aorta"] & field.cut(drawn)).any(), organ


def test_subjects_are_not_all_alike():
    found = [Anatomy.of(Subject(seed)) for seed in range(60)]
    places = torch.tensor([anatomy.pose.base for anatomy in found])
    assert bool((places.std(0) > 2).all())
    for value in ("length", "R_endo", "R_epi", "right_radius"):
        sizes = torch.tensor([getattr(anatomy.heart, value) for anatomy in found])
        assert float(sizes.std() / sizes.mean()) > 0.04, value
    outside = torch.stack([anatomy.outside.amax(1) - anatomy.outside.amin(1) for anatomy in found])
    assert bool((outside.std(0) > 2).all())
