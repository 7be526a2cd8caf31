"""What the commands of ``cmr-course`` do, one file each; `cmr_course.__main__` finds and calls them.

Each file has ``HELP``, ``arguments(parser)`` and ``run(args)``. Heavy imports stand inside the functions, so that
``cmr-course --help`` does not load torch.
"""
