CREATE TABLE items (
	id    integer PRIMARY KEY,
	name  text NOT NULL UNIQUE,
	price numeric(10, 2) NOT NULL CHECK (price >= 0)
);
