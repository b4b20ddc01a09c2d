"""The sub-commands of ``vicur``: thin, each over one public function. Their modules import nothing heavy."""
