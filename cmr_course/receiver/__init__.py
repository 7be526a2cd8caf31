"""The receiving end of a scanner: coils, background phase, noise of a stated strength, vendor layouts.

The simulator and the reader of image series share it: both hand in images and get back what an array would have
measured, fully sampled, with the truth to score against.
"""

from __future__ import annotations

from cmr_course.receiver.background import field_offset, smooth_phase
from cmr_course.receiver.channels import perturb_maps
from cmr_course.receiver.measure import SIGNAL_REGION, receive, signal_region
from cmr_course.receiver.noise import correlated_noise, noise_model
from cmr_course.receiver.vendors import PASS_BAND_HZ, VENDORS, Receiver, VendorProfile

__all__ = [
    "PASS_BAND_HZ",
    "SIGNAL_REGION",
    "VENDORS",
    "Receiver",
    "VendorProfile",
    "correlated_noise",
    "field_offset",
    "noise_model",
    "perturb_maps",
    "receive",
    "signal_region",
    "smooth_phase",
]
