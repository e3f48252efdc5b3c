"""Peers that know only the plain dialect, in nothing but the standard library."""
