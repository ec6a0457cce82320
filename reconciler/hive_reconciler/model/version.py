"""The version that is part of every revision: another hyperhive may build another container."""

VERSION = "0.1.0"
