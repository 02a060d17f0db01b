"""Quick looks: pictures of files for people, small and at once.

Here lives what chooses bands, stretches and draws; pixels come from :mod:`sarcodec.scene`. No measuring.
"""
