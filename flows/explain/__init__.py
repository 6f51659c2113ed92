"""What a thing is, in words and pictures: the rooms behind `dubwright inspect`.

Not called `inspect`: Prefect puts the folder of an entrypoint on `sys.path`, and what such a process starts would find
this package in place of the standard library's.
"""
