"""Floor 4: what users see, one room each. A room may use service.py and model.py of the rooms above it in this list:

projects, auth, collections, records, files, hosting, console.
"""
