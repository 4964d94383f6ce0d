INSERT INTO items VALUES (1, 'anvil', 120.00), (2, 'rocket skates', 42.50), (3, 'bird seed', 3.25);
