"""Sessions as files for people and programs: one module a format, and where the files go.

Nothing here knows a store: sessions come in whole (``core.record``), one after the other, and are written as
they come. What is written can be read without sessionctl.
"""
