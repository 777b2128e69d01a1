"""`Matches`, who matches whom: it stands beside the protocol, in `msinet_core.data.matches`."""

from msinet_core.data.matches import Matches

__all__ = ["Matches"]
