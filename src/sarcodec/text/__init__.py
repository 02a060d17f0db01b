"""Text for people and programs: numbers, JSON.

It knows no subject of the package.
"""
