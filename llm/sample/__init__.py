"""Where data come from: prompts, engines that sample completions, held-out evaluation."""
