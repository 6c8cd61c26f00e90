from datamodules import *  # noqa: F403
