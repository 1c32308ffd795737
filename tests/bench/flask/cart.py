"""The cart as a Flask service: what the host's cart is compared with.

GET  /cart?user_id=         {"cart": {product: quantity}}
POST /cart                  {"user_id", "product_id", "quantity"}, one transaction each
"""

import os

from flask import Flask, jsonify, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import OperationalError

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE"]
# SQLite's own settings otherwise; a writer waits for the other worker's rather than fail.
app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"connect_args": {"timeout": 30}}
db = SQLAlchemy(app)


class Item(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    user_id = db.Column(db.String(64), nullable=False, index=True)
    product_id = db.Column(db.String(64), nullable=False)
    quantity = db.Column(db.Integer, nullable=False)
    __table_args__ = (db.UniqueConstraint("user_id", "product_id"),)


with app.app_context():
    try:
        db.create_all()
    except OperationalError:
        # The other worker made the table between the look for it and now; ending here would end
        # both.
        db.create_all()


@app.get("/health")
def health():
    return jsonify(status="ok")


@app.get("/cart")
def show():
    items = Item.query.filter_by(user_id=request.args.get("user_id", "anonymous")).all()
    return jsonify(cart={item.product_id: item.quantity for item in items})


@app.post("/cart")
def add():
    body = request.get_json()
    user, product = str(body["user_id"]), str(body["product_id"])
    # One statement, so that of two that add at once both count.
    added = insert(Item).values(user_id=user, product_id=product, quantity=body["quantity"])
    db.session.execute(added.on_conflict_do_update(
        index_elements=[Item.user_id, Item.product_id],
        set_={"quantity": Item.quantity + added.excluded.quantity}))
    db.session.commit()
    return jsonify(message="success")
