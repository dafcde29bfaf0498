"""How many nodes, hours, requests and how much money a catalogue takes, by a formula and by a simulation."""
