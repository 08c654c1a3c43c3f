"""For lecturers: slides of the lessons, the key to their exercises, and assignments for nbgrader and otter-grader."""
