"""What an expression computes: terms, the evaluator, models of libraries, the files of a run as one program."""
