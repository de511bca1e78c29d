"""The program `nodeward`: one module a verb, imported when it is used."""
