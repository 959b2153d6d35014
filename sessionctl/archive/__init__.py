"""Archives: files that hold whole sessions, verified before anything they cover is deleted.

``format`` says what stands in such a file, ``texts`` how stored texts stand in it; ``writer`` makes them,
``reader`` checks and reads them, ``places`` are the directories and URLs where they lie. Nothing here knows a store.
"""
