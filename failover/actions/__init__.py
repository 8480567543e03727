"""What a node does when it becomes active, and when it ceases to be: address, announcement, steps with budgets."""
