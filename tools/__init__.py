"""What builds, executes and checks the course; nothing here is needed to use `cmr_course`."""

OLDEST, NEWEST = (3, 11), (3, 13)  # the versions of Python that the course supports
