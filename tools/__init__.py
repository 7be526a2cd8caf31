"""What builds, executes and checks the course; nothing here is needed to use `cmr_course`."""
