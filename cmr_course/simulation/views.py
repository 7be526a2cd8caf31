"""Where the named views lie in a subject: planes through the heart as a technologist would place them."""

from __future__ import annotations

import math

from cmr_course.plane import Plane, Vector, along, cross, dot, unit
from cmr_course.simulation.heart import Heart
from cmr_course.simulation.scan import Scan
from cmr_course.simulation.subject import Draws, Subject
from cmr_course.simulation.vessels import Vessels

ORIGIN: Vector = (0.0, 0.0, 0.0)
TILT = math.radians(38)
"""Of the four-chamber view from the septum towards the feet: below the aortic root, through both atria."""
LONG_AXES = ("3ch", "2ch", "4ch")
"""The slices of ``lax``, in the order of the challenge's files."""


def planes(subject: Subject, scan: Scan, heart: Heart, vessels: Vessels) -> tuple[Plane, ...]:
    """The slices of `scan` in `subject`, base to apex for a stack."""
    if scan.plane is not None:
        return (scan.plane.moved(scan.offset),)
    names = LONG_AXES if scan.view == "lax" else (scan.view,)
    if scan.view == "sax":
        middle = (scan.slices - 1) / 2
        found = [
            _short_axis(subject, heart, 0.5 * heart.length + (k - middle) * scan.spacing, scan.thickness)
            for k in range(scan.slices)
        ]
    else:
        found = [_long(name, heart, vessels, scan.thickness) for name in names]
    return tuple(plane.moved(scan.offset) for plane in found)


def _short_axis(subject: Subject, heart: Heart, depth: float, thickness: float) -> Plane:
    """Perpendicular to the left ventricle's axis, the right ventricle to the left of the picture, front upwards."""
    pose, draw = heart.pose, Draws(subject, "planning").between
    centre = pose.place(depth, (pose.across, draw(-6, 14)), (pose.up, draw(-14, 6)))
    # right × down is minus the axis, so that a stack moved along its normal moves towards the base.
    return Plane(centre, pose.across, _minus(pose.up), thickness)


def _long(name: str, heart: Heart, vessels: Vessels, thickness: float) -> Plane:
    """The plane of a single named view."""
    pose, middle = heart.pose, 0.3 * heart.length
    valve, outflow = vessels.root
    to_root = _perpendicular(along(valve, pose.base, -1.0), pose.axis)
    if name == "4ch":  # apex at the top, left ventricle to the right of the picture
        towards = unit(along(_scaled(pose.septum, math.cos(TILT)), pose.up, -math.sin(TILT)))
        return Plane(pose.place(middle - 12, (towards, 12.0)), _minus(towards), _minus(pose.axis), thickness)
    if name == "2ch":
        return Plane(pose.place(middle - 8), _minus(pose.axis), _minus(pose.up), thickness)
    if name == "3ch":
        return Plane(pose.place(middle - 10), _minus(pose.axis), _minus(to_root), thickness)
    if name == "lvot":  # contains the outflow's direction, across the three-chamber view
        down = _minus(outflow)
        right = _perpendicular(cross(to_root, pose.axis), down)
        right = right if right[0] > 0 else _minus(right)
        return Plane(along(valve, outflow, 8.0), right, down, thickness)
    if name == "aorta_sag":
        centre, right = vessels.arch()
        return Plane(along(centre, (0.0, 0.0, 1.0), -45.0), right, (0.0, 0.0, -1.0), thickness)
    x, y, z = vessels.bifurcation()
    return Plane((0.35 * x, 0.35 * y, z), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), thickness)


def depth_of(plane: Plane, heart: Heart) -> float | None:
    """How far below the mitral plane a short-axis plane cuts the ventricle's axis, mm; None where it is oblique."""
    axis = heart.pose.axis
    if abs(abs(dot(plane.normal, axis)) - 1) > 1e-6:
        return None
    return dot(along(plane.centre, heart.pose.base, -1.0), axis)


def _minus(vector: Vector) -> Vector:
    return -vector[0], -vector[1], -vector[2]


def _scaled(vector: Vector, factor: float) -> Vector:
    return along(ORIGIN, vector, factor)


def _perpendicular(vector: Vector, axis: Vector) -> Vector:
    """The part of `vector` perpendicular to `axis`, of length one."""
    return unit(along(vector, axis, -dot(vector, axis)))
