"""The commands, one module each: ``main`` parses the line, checks it, and only then works.

Nothing at the top of a module takes long to import, so that help is printed and a wrong line is
refused at once. torch and all that needs it are imported in the functions that do the work.
"""
