"""A module that needs what is not there."""

import surely_not_installed

BACKEND = surely_not_installed.BACKEND
