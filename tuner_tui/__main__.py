"""`python -m tuner_tui` is `tuner-tui`."""

from tuner_tui.python import leave_current_folder_out

leave_current_folder_out()  # before anything else is imported

from tuner_tui.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
