"""BSP profiles, flashing, identity and enrolment."""
